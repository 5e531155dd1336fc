"""The kinds of calibration map: how each is fitted, and how it is evaluated from plain numbers.

Axes: N items, F features, T thresholds or levels, P penalties.
A fit takes features (N, F), human scores (N,) and clusters, and gives the kind that it became and its parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from pydantic import JsonValue
from scipy.special import expit, logit

from harness.core.types import FloatArray, IntArray
from harness.stats.folds import folds_of

MapKind = Literal["platt", "isotonic", "ordinal", "ridge", "symmetric", "linear"]
Parameters: TypeAlias = Mapping[str, JsonValue]
Fitted: TypeAlias = tuple[MapKind, Parameters]
# Training features and scores, held-out features -> guesses (N held out, P), one column a penalty.
Guesses: TypeAlias = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]

_SAME = 1e-9  # a feature that varies by less does not vary
_MOST_CERTAIN = 0.999  # a hard verdict of 0 or 1 has no finite logit
_MOST_LEVELS = 10  # of an ordinal map; more are not levels but means of several people
_MOST_LOGIT = 30.0  # an ordinal slope or threshold beyond this is a separation on its way to infinity
_NEWTON_STEPS = 50
_INNER_FOLDS = 5
_RIDGE_PENALTIES = tuple(float(10.0**power) for power in np.arange(-2, 5.1, 0.5))
_ODDS_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def _numbers(parameters: Parameters, name: str) -> FloatArray:
    return np.asarray(parameters[name], dtype=np.float64)


# One feature, two parameters.


def _softened(human_N: FloatArray, n_pass: float, n_fail: float) -> FloatArray:
    """Human scores drawn in a little, so that a judge that separates pass from fail gets a finite slope. Platt 1999.

    (n_pass + 1) / (n_pass + 2) in place of 1 and 1 / (n_fail + 2) in place of 0; what lies between, in proportion.
    """
    high, low = (n_pass + 1) / (n_pass + 2), 1 / (n_fail + 2)
    return low + human_N * (high - low)


def _logistic(features_NF: FloatArray, chances_N: FloatArray, *, penalty: float = 0.0) -> FloatArray:
    """Slopes (F,) of a logistic regression on chances strictly between 0 and 1, without an intercept, by Newton steps.

    penalty: half of it times each squared slope is added to the loss. A step that does not help is halved.
    """
    slopes_F = np.zeros(features_NF.shape[1])
    ridge_FF = (penalty + 1e-9) * np.eye(len(slopes_F))
    loss = _odds_loss(slopes_F, features_NF, chances_N, penalty)
    for _ in range(_NEWTON_STEPS):
        guesses_N = expit(features_NF @ slopes_F)
        gradient_F = features_NF.T @ (guesses_N - chances_N) + penalty * slopes_F
        curvature_FF = (features_NF.T * (guesses_N * (1 - guesses_N))) @ features_NF + ridge_FF
        step_F = np.linalg.solve(curvature_FF, gradient_F)
        while (tried := _odds_loss(slopes_F - step_F, features_NF, chances_N, penalty)) > loss + _SAME:
            step_F = step_F / 2
        slopes_F, loss = slopes_F - step_F, min(tried, loss)
        if np.abs(step_F).max() < _SAME:
            break
    return slopes_F


def _odds_loss(slopes_F: FloatArray, features_NF: FloatArray, chances_N: FloatArray, penalty: float) -> float:
    logits_N = features_NF @ slopes_F
    return float(np.logaddexp(0.0, logits_N).sum() - chances_N @ logits_N + penalty / 2 * slopes_F @ slopes_F)


def _logits(features_NF: FloatArray) -> FloatArray:
    return logit(np.clip(features_NF, 1 - _MOST_CERTAIN, _MOST_CERTAIN))


def _fit_platt(features_NF: FloatArray, human_N: FloatArray, _: Sequence[str]) -> Fitted:
    n_pass = float(human_N.sum())
    chances_N = _softened(human_N, n_pass, len(human_N) - n_pass)
    slope, intercept = 0.0, float(logit(chances_N.mean()))
    if np.ptp(features_NF) > _SAME:
        with_one_NF = np.column_stack([_logits(features_NF), np.ones(len(human_N))])
        fitted_slope, fitted_intercept = _logistic(with_one_NF, chances_N).tolist()
        if fitted_slope > 0:
            slope, intercept = fitted_slope, fitted_intercept
    return "platt", {"slope": slope, "intercept": intercept}


def _platt(parameters: Parameters, features_NF: FloatArray) -> FloatArray:
    return expit(_numbers(parameters, "slope") * _logits(features_NF)[:, 0] + _numbers(parameters, "intercept"))


def _fit_linear(features_NF: FloatArray, human_N: FloatArray, _: Sequence[str]) -> Fitted:
    """Least squares, clipped to [0, 1] where it is used."""
    centred_N = features_NF[:, 0] - features_NF.mean()
    varies = np.ptp(features_NF) > _SAME
    slope = max(0.0, float(centred_N @ human_N / (centred_N @ centred_N))) if varies else 0.0
    return "linear", {"slope": slope, "intercept": float(human_N.mean() - slope * features_NF.mean())}


def _linear(parameters: Parameters, features_NF: FloatArray) -> FloatArray:
    return _numbers(parameters, "slope") * features_NF[:, 0] + _numbers(parameters, "intercept")


# Pairs.


def _fit_symmetric(features_NF: FloatArray, human_N: FloatArray, clusters: Sequence[str]) -> Fitted:
    """Logistic on the features less 1/2, without an intercept: turn the pair round, and p becomes 1 - p.

    Softened alike on both sides, as if half of the labels stood on each. Several features' slopes are penalised.
    """
    chances_N = _softened(human_N, len(human_N) / 2, len(human_N) / 2)
    if features_NF.shape[1] == 1:
        slopes_F = _logistic(features_NF - 0.5, chances_N)
        return "symmetric", {"slopes": np.maximum(slopes_F, 0.0).tolist()}
    scales_F = _divisors(np.sqrt(((features_NF - 0.5) ** 2).mean(0)))
    scaled_NF = (features_NF - 0.5) / scales_F
    turned_NK, back_FK = _turned(scaled_NF)
    penalty = _best_penalty(turned_NK, chances_N, clusters, _ODDS_PENALTIES, _odds_guesses, _log_loss)
    slopes_F = back_FK @ _logistic(turned_NK, chances_N, penalty=penalty)
    return "symmetric", {"slopes": (slopes_F / scales_F).tolist(), "penalty": penalty}


def _symmetric(parameters: Parameters, features_NF: FloatArray) -> FloatArray:
    # tanh is odd to the last digit, which the logistic function round 1/2 is not.
    return 0.5 + 0.5 * np.tanh((features_NF - 0.5) @ _numbers(parameters, "slopes") / 2)


def _odds_guesses(train_NF: FloatArray, chances_N: FloatArray, held_NF: FloatArray) -> FloatArray:
    slopes = [_logistic(train_NF, chances_N, penalty=each) for each in _ODDS_PENALTIES]
    return expit(held_NF @ np.transpose(slopes))


def _log_loss(guesses_NP: FloatArray, chances_N: FloatArray) -> FloatArray:
    sure_NP = np.clip(guesses_NP, 1e-9, 1 - 1e-9)
    losses_P: FloatArray = -(chances_N @ np.log(sure_NP) + (1 - chances_N) @ np.log1p(-sure_NP))
    return losses_P


# Steps and levels.


def _fit_isotonic(features_NF: FloatArray, human_N: FloatArray, _: Sequence[str]) -> Fitted:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(increasing=True).fit(features_NF[:, 0], human_N)
    return "isotonic", {"x": model.X_thresholds_.tolist(), "y": model.y_thresholds_.tolist()}


def _isotonic(parameters: Parameters, features_NF: FloatArray) -> FloatArray:
    return np.interp(features_NF[:, 0], _numbers(parameters, "x"), _numbers(parameters, "y"))


def _fit_ordinal(features_NF: FloatArray, human_N: FloatArray, clusters: Sequence[str]) -> Fitted:
    """Proportional odds (McCullagh 1980) of the levels that occur; the score is their mean under the model."""
    levels_T, codes_N = np.unique(human_N, return_inverse=True)
    centres_F, scales_F = features_NF.mean(0), features_NF.std(0)
    why, odds = "", None
    if not 2 <= len(levels_T) <= _MOST_LEVELS:
        why = f"people gave {len(levels_T)} different scores; it takes 2 to {_MOST_LEVELS}"
    elif (scales_F <= _SAME).any():
        why = "a feature is the same for every item"
    else:
        odds = _proportional_odds((features_NF - centres_F) / scales_F, codes_N)
        why = "the likelihood has no maximum that could be found"
    if odds is not None and len(odds[0]) == 1 and odds[0][0] < 0:
        odds, why = None, "people's scores fall where the judge's rise"
    if odds is None:
        kind, parameters = (_fit_isotonic if features_NF.shape[1] == 1 else _fit_ridge)(features_NF, human_N, clusters)
        return kind, {**parameters, "instead_of": "ordinal", "why": why}
    return "ordinal", {
        "centres": centres_F.tolist(),
        "scales": scales_F.tolist(),
        "slopes": odds[0].tolist(),
        "thresholds": odds[1].tolist(),
        "levels": levels_T.tolist(),
    }


def _proportional_odds(standard_NF: FloatArray, codes_N: IntArray) -> tuple[FloatArray, FloatArray] | None:
    """Slopes (F,) and thresholds, one fewer than levels; None where statsmodels finds no finite maximum."""
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        model = OrderedModel(codes_N, standard_NF, distr="logit")
        result = model.fit(method="bfgs", maxiter=500, disp=False, skip_hessian=True)
    parameters = np.asarray(result.params, dtype=np.float64)
    if not result.mle_retvals["converged"] or not np.isfinite(parameters).all():
        return None
    slopes_F, rest = parameters[: standard_NF.shape[1]], parameters[standard_NF.shape[1] :]
    thresholds_T = np.asarray(model.transform_threshold_params(rest), dtype=np.float64)[1:-1]
    too_far = max(np.abs(slopes_F).max(), np.abs(thresholds_T).max()) > _MOST_LOGIT
    return None if too_far else (slopes_F, thresholds_T)


def _ordinal(parameters: Parameters, features_NF: FloatArray) -> FloatArray:
    standard_NF = (features_NF - _numbers(parameters, "centres")) / _numbers(parameters, "scales")
    position_N = standard_NF @ _numbers(parameters, "slopes")
    below_NT = expit(_numbers(parameters, "thresholds")[None, :] - position_N[:, None])
    # The mean is the top level less, for each threshold, the step there times the chance of staying below.
    levels_T = _numbers(parameters, "levels")
    scores_N: FloatArray = levels_T[-1] - below_NT @ np.diff(levels_T)
    return scores_N


# Many features.


def _fit_ridge(features_NF: FloatArray, human_N: FloatArray, clusters: Sequence[str]) -> Fitted:
    """Least squares with a penalty on the standardised slopes; a feature that never varies gets slope 0."""
    centres_F, scales_F = features_NF.mean(0), _divisors(features_NF.std(0))
    standard_NF = (features_NF - centres_F) / scales_F
    turned_NK, back_FK = _turned(standard_NF)
    penalty = _best_penalty(turned_NK, human_N, clusters, _RIDGE_PENALTIES, _ridge_guesses, _squared_error)
    slopes_F = back_FK @ _ridge_slopes(turned_NK, human_N, (penalty,))[:, 0] / scales_F
    intercept = float(human_N.mean() - centres_F @ slopes_F)
    return "ridge", {"slopes": slopes_F.tolist(), "intercept": intercept, "penalty": penalty}


def _ridge(parameters: Parameters, features_NF: FloatArray) -> FloatArray:
    scores_N: FloatArray = features_NF @ _numbers(parameters, "slopes") + _numbers(parameters, "intercept")
    return scores_N


def _ridge_slopes(centred_NF: FloatArray, human_N: FloatArray, penalties: Sequence[float]) -> FloatArray:
    """Slopes (F, P), all from one singular value decomposition."""
    left_NK, singular_K, right_KF = np.linalg.svd(centred_NF, full_matrices=False)
    along_K = singular_K * (left_NK.T @ (human_N - human_N.mean()))
    shrunk_KP = along_K[:, None] / (singular_K[:, None] ** 2 + np.asarray(penalties)[None, :])
    slopes_FP: FloatArray = right_KF.T @ shrunk_KP
    return slopes_FP


def _ridge_guesses(train_NF: FloatArray, human_N: FloatArray, held_NF: FloatArray) -> FloatArray:
    means_F = train_NF.mean(0)
    slopes_FP = _ridge_slopes(train_NF - means_F, human_N, _RIDGE_PENALTIES)
    guesses_NP: FloatArray = (held_NF - means_F) @ slopes_FP + human_N.mean()
    return guesses_NP


def _squared_error(guesses_NP: FloatArray, human_N: FloatArray) -> FloatArray:
    errors_P: FloatArray = ((guesses_NP - human_N[:, None]) ** 2).sum(0)
    return errors_P


def _best_penalty(
    features_NF: FloatArray,
    human_N: FloatArray,
    clusters: Sequence[str],
    penalties: Sequence[float],
    guesses: Guesses,
    loss: Callable[[FloatArray, FloatArray], FloatArray],
) -> float:
    """The penalty with the least loss on held-out clusters, the greatest of equals; with one cluster the greatest."""
    if len(set(clusters)) < 2:
        return penalties[-1]
    folds_N = folds_of(clusters, n_folds=_INNER_FOLDS)
    losses_P = np.zeros(len(penalties))
    for fold in range(int(folds_N.max()) + 1):
        held_N = folds_N == fold
        held_NP = guesses(features_NF[~held_N], human_N[~held_N], features_NF[held_N])
        losses_P += loss(held_NP, human_N[held_N])
    return penalties[len(penalties) - 1 - int(np.argmin(losses_P[::-1]))]


def _turned(features_NF: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The items in as few dimensions as they span, K <= N, and the rotation (F, K) back to the features.

    A penalty on squared slopes does not see rotations, so hidden states of thousands cost no more than N features.
    """
    n, n_features = features_NF.shape
    if n_features <= n:
        return features_NF, np.eye(n_features)
    squares_K, left_NK = np.linalg.eigh(features_NF @ features_NF.T)
    spanned_K = squares_K > squares_K.max() * _SAME
    left_NK, lengths_K = left_NK[:, spanned_K], np.sqrt(squares_K[spanned_K])
    return left_NK * lengths_K, features_NF.T @ left_NK / lengths_K


def _divisors(spreads_F: FloatArray) -> FloatArray:
    """What to divide features by: their spread, and infinity where they have none."""
    return np.where(spreads_F > _SAME, spreads_F, np.inf)


FIT: Mapping[MapKind, Callable[[FloatArray, FloatArray, Sequence[str]], Fitted]] = {
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
    "ordinal": _fit_ordinal,
    "ridge": _fit_ridge,
    "symmetric": _fit_symmetric,
    "linear": _fit_linear,
}
EVALUATE: Mapping[MapKind, Callable[[Parameters, FloatArray], FloatArray]] = {
    "platt": _platt,
    "isotonic": _isotonic,
    "ordinal": _ordinal,
    "ridge": _ridge,
    "symmetric": _symmetric,
    "linear": _linear,
}
