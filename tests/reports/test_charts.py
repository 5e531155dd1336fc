"""Charts are plain figures whose numbers are the records' numbers."""

import json

from reports.charts import figures
from tests.reports.view import empty, view

RESULT = view(10).result


def test_effect_plot_has_a_row_per_comparison_and_one_without_leaked_rows():
    data = figures(RESULT)["effect"]["data"]
    assert [trace["x"][0] for trace in data] == [0.1230, 0.0312, 0.0312 - 0.021]  # type: ignore[index,call-overload,union-attr]
    assert [trace["y"][0] for trace in data] == [3, 2, 1]  # type: ignore[index,call-overload,union-attr]


def test_effect_plot_shades_what_is_not_worth_having():
    band = figures(RESULT)["effect"]["layout"]["shapes"][0]  # type: ignore[index,call-overload]
    assert (band["x0"], band["x1"]) == (-0.02, 0.02)  # type: ignore[index,call-overload]


def test_curves_mark_the_chosen_checkpoint():
    for name in ("score", "loss", "accuracy"):
        layout = figures(RESULT)[name]["layout"]
        assert layout["shapes"][0]["x0"] == 150  # type: ignore[index,call-overload]
        assert layout["annotations"][0]["text"] == "chosen"  # type: ignore[index,call-overload]


def test_score_curve_has_its_interval_and_the_arm_to_beat():
    figure = figures(RESULT)["score"]
    high, low, value = (trace["y"] for trace in figure["data"])  # type: ignore[index,call-overload,union-attr]
    assert value == [0.431, 0.488, 0.531, 0.539, 0.522]
    assert all(a > b > c for a, b, c in zip(high, value, low, strict=True))  # type: ignore[arg-type]
    assert figure["layout"]["shapes"][1]["y0"] == 0.43  # type: ignore[index,call-overload]


def test_run_without_checkpoints_or_comparisons_has_no_chart():
    assert figures(empty().result) == {}


def test_figures_are_json():
    assert json.loads(json.dumps(figures(RESULT), allow_nan=False)) == figures(RESULT)
