"""From labels and verdicts to a claim: what is refused, what is said, and whether it is true as often as it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.autorater.estimates import Judged, TestSample, corrected, validate
from harness.core.errors import HarnessError
from harness.core.judging import Label, text_hash
from harness.stats import ppi, rates
from harness.stats.paired import bonett_price

CANDIDATE, BASELINE = "step-000075", "base"


def single(number, value, *, system=CANDIDATE, kind="pass_fail", annotator="ann", **changes):
    """A person's label of what `system` answered to prompt `number`."""
    question = f"question {number}"
    fields = {
        "id": f"{system}-{number}-{annotator}",
        "kind": kind,
        "criterion": "reply quality",
        "value": value,
        "annotator": annotator,
        "question": question,
        "answers": (f"{system} answers {number}",),
        "systems": (system,),
        "round": "final",
        "sample": f"sample-{number}",
        "split": "test",
    }
    return Label(**{**fields, **changes})


def pair(number, value, *, systems=(CANDIDATE, BASELINE), **changes):
    answers = tuple(f"{system} answers {number}" for system in systems)
    return single(number, value, kind="pair", answers=answers, systems=systems, id=f"pair-{number}", **changes)


def sample(number, scores=None, **changes):
    fields = {
        "id": f"sample-{number}",
        "cluster": text_hash(f"question {number}"),
        "answers": (f"{CANDIDATE} answers {number}", f"{BASELINE} answers {number}"),
        "scores": scores,
    }
    return TestSample(**{**fields, **changes})


def judged(number, score, *, system=CANDIDATE, **changes):
    question = f"question {number}"
    item = text_hash(question, f"{system} answers {number}")
    return Judged(**{"item": item, "cluster": text_hash(question), "score": score, **changes})


def claim(labels, samples, **changes):
    options = {
        "candidate": CANDIDATE,
        "baseline": BASELINE,
        "criterion": "reply quality",
        "smallest_effect": 0.05,
        **changes,
    }
    return validate(labels, samples, **options)


def experiment(rng, *, n_labels=100, n_test=200, good=0.71, bad=0.42, noise=0.25):
    """Pass or fail by people, and the chances that a fair judge sees; both sides of every test prompt."""
    passes = (rng.random((n_test, 2)) < (good, bad)).astype(int)
    scores = np.clip(0.5 + 0.35 * (2 * passes - 1) + noise * rng.normal(size=(n_test, 2)), 0, 1)
    samples = [sample(i, (float(c), float(b))) for i, (c, b) in enumerate(scores)]
    labels = []
    for i in rng.permutation(n_test)[:n_labels].tolist():
        labels += [single(i, int(passes[i, 0])), single(i, int(passes[i, 1]), system=BASELINE)]
    return labels, samples, passes


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def test_the_claim_is_people_on_both_sides_with_the_judges_help(rng):
    labels, samples, passes = experiment(rng)
    found = claim(labels, samples)
    labelled = sorted({int(label.sample.split("-")[1]) for label in labels})
    d = (passes[:, 0] - passes[:, 1]).astype(float)
    scores = np.array([s.scores for s in samples])
    f = scores[:, 0] - scores[:, 1]
    rest = [i for i in range(200) if i not in labelled]
    expected = ppi.mean(d[labelled], f[labelled], f[rest], bounds=(-1, 1))
    assert found.difference.value == pytest.approx(expected.value)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high))
    assert found.difference.p == pytest.approx(expected.p)
    assert (found.difference.n_labels, found.difference.n_judged) == (100, 100)
    assert (found.wins, found.ties, found.losses) == tuple(
        int(n) for n in ((d[labelled] > 0).sum(), (d[labelled] == 0).sum(), (d[labelled] < 0).sum())
    )
    assert found.answer == "better"
    assert found.annotators == {"ann": 200}
    assert found.difference.label_systems == (CANDIDATE, BASELINE)
    assert not found.difference.warning


def test_the_sentence_holds_scores_answer_interval_and_what_they_rest_on(rng):
    found = claim(*experiment(rng)[:2])
    d = found.difference
    assert found.sentence == (
        f"People, blind, on 100 of 200 test prompts: reply quality {found.candidate_score.value:.2f} with step-000075 "
        f"against {found.baseline_score.value:.2f} with base (better: {d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]; "
        f"PPI++ with 100 labelled and 100 judged prompts, {d.effective_labels:.0f} effective labels)"
    )
    assert claim(*experiment(rng)[:2], simulated=True).sentence.startswith("Simulated annotators, blind, on")


def test_the_difference_is_the_candidates_score_minus_the_baselines(rng):
    found = claim(*experiment(rng)[:2])
    assert found.candidate_score.value - found.baseline_score.value == pytest.approx(found.difference.value)
    assert found.candidate_score.method == "PPI++, Wilson"
    assert 0 < found.candidate_score.low < found.candidate_score.high < 1


def test_without_a_judge_the_labels_speak_alone(rng):
    labels, samples, passes = experiment(rng)
    found = claim(labels, [replace(each, scores=None) for each in samples])
    labelled = [int(label.sample.split("-")[1]) for label in labels[::2]]
    d = (passes[labelled, 0] - passes[labelled, 1]).astype(float)
    alone = ppi.labels_only(d, bounds=(-1, 1))
    assert (found.difference.low, found.difference.high) == pytest.approx((alone.low, alone.high))
    assert found.difference.n_judged == 0
    assert found.sentence.endswith("; labels alone)")
    wilson = rates.labels_only(passes[labelled, 0].astype(float))
    assert (found.candidate_score.low, found.candidate_score.high) == pytest.approx((wilson.low, wilson.high))


def test_a_good_judge_shortens_the_interval_and_a_useless_one_does_not_lengthen_it(rng):
    labels, samples, _ = experiment(rng, n_test=1000, noise=0.1)
    alone = claim(labels, [replace(each, scores=None) for each in samples]).difference
    good = claim(labels, samples).difference
    useless = claim(labels, [replace(each, scores=tuple(rng.random(2))) for each in samples]).difference
    assert good.effective_labels > 250
    assert good.high - good.low < 0.7 * (alone.high - alone.low)
    assert useless.high - useless.low < 1.03 * (alone.high - alone.low)


def test_labels_of_pairs_make_the_same_claim_from_either_order(rng):
    votes = rng.choice(["first", "second", "tie"], p=[0.6, 0.25, 0.15], size=120).tolist()
    turned = {"first": "second", "second": "first", "tie": "tie"}
    samples = [sample(i, (0.6, 0.4)) for i in range(120)]
    straight = claim([pair(i, vote) for i, vote in enumerate(votes)], samples)
    swapped = claim([pair(i, turned[vote], systems=(BASELINE, CANDIDATE)) for i, vote in enumerate(votes)], samples)
    assert swapped.difference == straight.difference
    win = np.mean([{"first": 1, "second": 0, "tie": 0.5}[vote] for vote in votes])
    assert straight.candidate_score.value == pytest.approx(win)
    assert straight.baseline_score.value == pytest.approx(1 - win)
    assert straight.difference.value == pytest.approx(2 * win - 1)
    assert (straight.wins, straight.losses) == (votes.count("first"), votes.count("second"))


def test_several_annotators_of_one_answer_are_one_observation(rng):
    labels, samples, _ = experiment(rng)
    twice = [*labels, *(replace(label, id=label.id + "-2", annotator="bea") for label in labels)]
    once, both = claim(labels, samples), claim(twice, samples)
    assert both.difference == once.difference
    assert both.annotators == {"ann": 200, "bea": 200}


def test_only_the_final_round_of_this_criterion_counts(rng):
    labels, samples, _ = experiment(rng)
    others = [
        replace(labels[0], id="x", round="gate", value=0),
        replace(labels[1], id="y", criterion="tone", value=0),
    ]
    assert claim([*labels, *others], samples) == claim(labels, samples)


def test_samples_of_one_prompt_stand_and_fall_together(rng):
    labels, samples, _ = experiment(rng)
    shared = [replace(each, cluster=f"prompt-{i // 4}") for i, each in enumerate(samples)]
    found = claim(labels, shared)
    assert "clustered" in found.difference.method
    assert found.difference.n_clusters <= 50
    assert "100 of 200 test samples" in found.sentence


def test_labels_drawn_with_unequal_chances_are_weighed(rng):
    labels, samples, _ = experiment(rng)
    chances = [0.25 if int(label.sample.split("-")[1]) % 2 else 0.75 for label in labels]
    weighted = [replace(label, probability=p) for label, p in zip(labels, chances, strict=True)]
    assert claim(weighted, samples).difference.method == "PPI++, weighted"


def test_strata_that_are_known_of_every_sample_are_used(rng):
    labels, samples, _ = experiment(rng)
    parted = [replace(each, stratum="long" if i % 3 else "short") for i, each in enumerate(samples)]
    assert claim(labels, parted).difference.method == "PPI++, stratified"


def test_samples_without_a_verdict_stay_in_and_are_told(rng):
    labels, samples, _ = experiment(rng)
    samples[3:5] = [replace(each, scores=None) for each in samples[3:5]]
    samples[5] = replace(samples[5], scores=(float("nan"), 0.5))
    found = claim(labels, samples).difference
    assert found.n_labels + found.n_judged == 200
    assert found.warning == "3 of 200 items have no verdict and stand at the mean of the others"


def test_a_sample_with_one_side_labelled_is_left_out_and_told(rng):
    labels, samples, _ = experiment(rng)
    found = claim(labels[1:], samples).difference
    assert found.n_labels == 99
    assert found.warning == "samples left out because only one side has a label: 1"


def test_a_claim_about_this_test_set_is_narrower_and_says_so(rng):
    labels, samples, _ = experiment(rng)
    population, pool = claim(labels, samples).difference, claim(labels, samples, target="test set").difference
    assert (population.target, pool.target) == ("population", "test set")
    assert pool.high - pool.low < 0.9 * (population.high - population.low)


def test_labels_that_all_say_the_same_still_leave_some_doubt():
    samples = [sample(i) for i in range(100)]
    labels = [single(i, 1, system=system) for i in range(100) for system in (CANDIDATE, BASELINE)]
    found = claim(labels, samples)
    assert (found.difference.low, found.difference.high) == pytest.approx(bonett_price(0, 0, 100))
    assert found.answer == "no difference worth having"
    assert claim(labels, samples, smallest_effect=0.01).answer == "cannot tell"
    assert found.candidate_score.low < 0.97


def test_fewer_than_thirty_labelled_prompts_are_not_corrected(rng):
    labels, samples, _ = experiment(rng, n_labels=29)
    found = claim(labels, samples)
    assert found.difference.method == "labels alone"
    assert found.candidate_score.method == "labels alone, Wilson"


def test_names_from_outside_cannot_act_in_the_sentence(rng):
    labels, samples, _ = experiment(rng)
    hostile = "tone\x1b[31m\n"
    found = claim([replace(label, criterion=hostile) for label in labels], samples, criterion=hostile)
    assert "\x1b" not in found.sentence
    assert "\n" not in found.sentence


def refused(code, call):
    with pytest.raises(HarnessError) as caught:
        call()
    assert caught.value.code == code
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_final_label_that_fitted_the_judge_is_refused(rng):
    labels, samples, _ = experiment(rng)
    says = refused("E-LEAK", lambda: claim(labels, samples, fitted_on={labels[7].id, "another"}))
    assert (
        f"1 of 200 labels fitted the judge and would correct it as well, the first of them label '{labels[7].id}'"
        in says
    )


def test_a_label_corrects_a_judge_that_it_fitted_only_out_of_fold():
    labels = [single(i, i % 2) for i in range(40)]
    items = [judged(i, 0.3 + 0.4 * (i % 2)) for i in range(200)]
    ids = [label.id for label in labels]
    arguments = {"name": "quality", "systems": (CANDIDATE,), "fitted_on": ids}
    refused("E-LEAK", lambda: corrected(labels, items, **arguments))
    refused("E-LEAK", lambda: corrected(labels, items, **arguments, out_of_fold=ids[1:]))
    assert corrected(labels, items, **arguments, out_of_fold=ids).n_labels == 40


def test_a_label_that_comes_back_under_another_id_is_no_new_one(rng):
    labels, samples, _ = experiment(rng)
    fitted = {(labels[7].item, "reply quality")}
    back = [replace(label, id=f"again-{label.id}") for label in labels]
    says = refused("E-LEAK", lambda: claim(back, samples, fitted_items=fitted))
    assert (
        f"1 of 200 labels fitted the judge and would correct it as well, the first of them label '{back[7].id}'" in says
    )
    assert claim(back, samples, fitted_items=fitted, out_of_fold=[back[7].id]).difference.n_labels == 100
    assert claim(back, samples, fitted_items={(labels[7].item, "tone")}).difference.n_labels == 100


def test_an_item_that_fitted_the_judge_corrects_it_only_out_of_fold():
    labels = [single(i, i % 2) for i in range(40)]
    items = [judged(i, 0.3 + 0.4 * (i % 2)) for i in range(200)]
    arguments = {"name": "quality", "systems": (CANDIDATE,), "fitted_items": {(labels[3].item, "reply quality")}}
    refused("E-LEAK", lambda: corrected(labels, items, **arguments))
    assert corrected(labels, items, **arguments, out_of_fold=[labels[3].id]).n_labels == 40


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"split": "validation"}, "E-LABELS", "'validation'"),
        ({"kind": "likert", "value": 5}, "E-LABELS", "likert, pass_fail"),
        ({"answers": ("an older answer",)}, "E-LABELS", "answers that this run did not give"),
        ({"sample": "sample-999"}, None, ""),
    ],
)
def test_final_labels_of_something_else_are_refused(change, code, says, rng):
    labels, samples, _ = experiment(rng)
    labels[10] = replace(labels[10], **change)
    if code is None:  # the prompt itself tells which sample is meant
        assert claim(labels, samples).difference.n_labels == 100
    else:
        assert says in refused(code, lambda: claim(labels, samples))


def test_final_labels_of_another_checkpoint_are_refused_and_where_others_remain_left_out(rng):
    labels, samples, _ = experiment(rng)
    earlier = [
        replace(label, id=label.id + "-earlier", systems=("step-000050",), answers=("an earlier answer",))
        for label in labels
        if label.systems == (CANDIDATE,)
    ]
    says = refused("E-TRANSPORT", lambda: claim(earlier, samples))
    assert "people judged answers of 'step-000050'" in says
    found = claim([*labels, *earlier], samples).difference
    assert found.warning == "labels left out because they are of 'step-000050': 100"
    assert replace(found, warning="") == claim(labels, samples).difference


def test_one_text_from_both_systems_is_a_tie_however_often_it_was_judged(rng):
    labels, samples, _ = experiment(rng)
    numbers = [int(label.sample.split("-")[1]) for label in labels[::2]]
    same = dict.fromkeys(numbers[:20], ("the same", "the same"))
    samples = [replace(each, answers=same.get(i, each.answers)) for i, each in enumerate(samples)]
    relabelled = [
        replace(label, answers=("the same",), value=value % 2) if int(label.sample.split("-")[1]) in same else label
        for value, label in enumerate(labels)
    ]
    found = claim(relabelled, samples)
    assert found.difference.n_labels == 100
    assert found.ties >= 20


def test_no_labels_and_one_labelled_prompt_are_refused(rng):
    labels, samples, _ = experiment(rng)
    assert "no labels of the final round" in refused("E-LABELS", lambda: claim([], samples))
    assert "cover 1 prompt with both systems; 2 are needed" in refused("E-LABELS", lambda: claim(labels[:2], samples))


def test_one_systems_score_is_that_of_the_estimator(rng):
    passed = (rng.random(600) < 0.7).astype(int)
    score = np.clip(0.2 + 0.5 * passed + 0.15 * rng.normal(size=600), 0, 1)
    labels = [single(i, int(passed[i])) for i in range(80)]
    found = corrected(
        labels, [judged(i, float(score[i])) for i in range(600)], name="reply quality", systems=(CANDIDATE,)
    )
    expected = rates.rate(passed[:80].astype(float), score[:80], score[80:])
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert (found.name, found.n_labels, found.n_judged, found.label_systems) == ("reply quality", 80, 520, (CANDIDATE,))


def test_labels_of_items_that_nobody_judged_are_refused():
    labels = [single(i, i % 2) for i in range(40)]
    items = [judged(i, 0.5) for i in range(1, 40)]
    says = refused("E-LABELS", lambda: corrected(labels, items, name="q", systems=(CANDIDATE,)))
    assert "1 of 40 labelled items are not among the 39" in says


def wrong_system(rng, *, extra_bias, n=100, n_judged=1000):
    """Likert labels of the baseline, verdicts of both; the judge flatters the candidate by extra_bias."""
    human = np.clip(0.5 + 0.2 * rng.normal(size=n + n_judged), 0, 1)
    likert = np.rint(4 * human).astype(int) + 1
    score = (likert - 1) / 4 + 0.05 + 0.1 * rng.normal(size=n + n_judged)
    score[n:] += extra_bias
    labels = [single(i, int(likert[i]), system=BASELINE, kind="likert") for i in range(n)]
    items = [judged(i, float(s), system=BASELINE if i < n else CANDIDATE) for i, s in enumerate(score)]
    return labels, items


def test_labels_of_another_system_are_refused_unless_asked_and_then_marked(rng):
    labels, items = wrong_system(rng, extra_bias=0.0)
    arguments = {"name": "quality", "systems": (CANDIDATE,)}
    says = refused("E-TRANSPORT", lambda: corrected(labels, items, **arguments))
    assert f"people judged answers of '{BASELINE}', and the claim is about '{CANDIDATE}'" in says
    found = corrected(labels, items, **arguments, assume_transport=True)
    assert found.warning == (
        f"corrected by labels on answers of '{BASELINE}', not of '{CANDIDATE}': "
        "valid only if the judge errs alike on both"
    )
    assert (found.lam, found.label_systems) == (1.0, (BASELINE,))


def test_labels_of_another_system_say_nothing_without_verdicts_on_the_claimed_one(rng):
    labels, items = wrong_system(rng, extra_bias=0.0)
    arguments = {"name": "quality", "systems": (CANDIDATE,), "assume_transport": True}
    without = [replace(each, score=None) for each in items], items[:100]
    for judged in without:
        with pytest.raises(HarnessError) as error:
            corrected(labels, judged, **arguments)
        assert error.value.code == "E-TRANSPORT"
    with pytest.raises(HarnessError) as few:
        corrected(labels[:29], [*items[:29], *items[100:]], **arguments)
    assert few.value.code == "E-TRANSPORT"


def test_what_is_refused_would_have_missed_the_truth_every_time(rng):
    """Labels of the wrong system and a judge that flatters the right one by .10: no interval holds the truth."""
    held = {0.0: 0, 0.10: 0}
    for bias in held:
        for _ in range(15):
            labels, items = wrong_system(rng, extra_bias=bias)
            found = corrected(labels, items, name="q", systems=(CANDIDATE,), assume_transport=True)
            held[bias] += found.low <= 0.5 <= found.high
    assert held[0.10] == 0
    assert held[0.0] >= 12


def test_claims_are_true_as_often_as_they_say():
    """Two systems alike: "better" or "worse" in one run of twenty, and intervals hold zero in nineteen."""
    rng = np.random.default_rng(0)
    held = claimed = 0
    for _ in range(120):
        found = claim(*experiment(rng, n_labels=60, n_test=120, good=0.6, bad=0.6)[:2], smallest_effect=1e-6)
        held += found.difference.low <= 0 <= found.difference.high
        claimed += found.answer in ("better", "worse")
    assert held >= 107  # 114 expected; three standard errors are 7
    assert claimed <= 13
