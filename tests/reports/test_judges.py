"""A judge's grade decides how its numbers look, and people's word stands first."""

import dataclasses
import re

import pytest

from harness.core.licences import GateLine, Grade, Transport
from harness.core.records import Selection
from reports import cards, judges, markdown
from reports.charts import figures
from reports.html import page
from reports.judge_charts import card_figures, transport
from tests.reports.judged import METRIC, card, figure, judged, licence, validation
from tests.reports.reading import Page, payload
from tests.reports.view import View, view

BUNDLE = ("QQ==", "'sha256-bundle'")
PLAIN = view(20)


def read(run: View) -> Page:
    return Page(page(run, BUNDLE))


def cells_of(source: str, name: str) -> list[str]:
    """Classes of the cells in a column of the first table with this class."""
    body = source[source.index(f'<table class="{name}">') :]
    return re.findall(r'<td class="(raw|)">', body[: body.index("</table>")])


@pytest.mark.parametrize(
    ("grade", "grey"), [("drive", ""), ("shortlist", ""), ("advisory", "raw"), ("uncalibrated", "raw")]
)
def test_only_a_judge_that_passed_the_gate_has_its_numbers_in_ink(grade: Grade, grey: str):
    source = page(judged(PLAIN, grade), BUNDLE)
    columns = 1 + len(PLAIN.result.metrics)
    classes = cells_of(source, "arms")
    assert classes[::columns] == [grey] * 3
    assert set(classes) - {grey} <= {""}
    assert ("uncalibrated" in Page(source).text) == bool(grey)


def test_samples_opened_by_the_script_name_an_unproven_judge_uncalibrated():
    names = [payload(page(judged(PLAIN, grade), BUNDLE))["metrics"][0] for grade in ("drive", "advisory")]  # type: ignore[arg-type,index]
    assert names == [METRIC, f"{METRIC} (uncalibrated)"]


def test_a_judge_without_a_card_is_uncalibrated():
    run = dataclasses.replace(judged(PLAIN, "drive"), judges=())
    assert judges.standings(run)[METRIC].words == "uncalibrated"
    assert cells_of(page(run, BUNDLE), "arms")[0] == "raw"


@pytest.mark.parametrize(("grade", "role"), [("drive", "@good"), ("advisory", "@muted")])
def test_charts_of_an_unproven_judge_are_grey_and_say_so(grade: Grade, role: str):
    run = judged(PLAIN, grade)
    drawn = figures(run.result, judges.unproven(run))["effect"]
    assert drawn["data"][0]["marker"]["color"] == role  # type: ignore[index,call-overload]
    assert ("uncalibrated" in str(drawn)) == (grade == "advisory")


def test_a_score_curve_of_an_unproven_judge_is_grey():
    run = judged(PLAIN, "drive")
    drawn = figures(run.result, frozenset({METRIC}))["score"]
    assert drawn["data"][2]["line"]["color"] == "@muted"  # type: ignore[index,call-overload]
    assert "uncalibrated" in str(drawn["layout"])


def test_what_people_said_stands_first():
    said = validation()
    source = page(judged(PLAIN, "drive", said), BUNDLE)
    assert f"<h1>{said.sentence}</h1>" in source
    text = Page(source).text
    assert "validated by people" in text
    assert "not validated by people" not in text
    assert text.index(said.sentence) < text.index(PLAIN.result.conclusion.sentence)
    assert source.index('id="people"') < source.index('id="results"')


def test_what_people_said_is_the_records_numbers():
    said = validation()
    values = set(read(judged(PLAIN, "drive", said)).values)
    for each in (said.candidate_score, said.baseline_score, said.difference):
        assert {each.value, each.low, each.high, each.rho, each.lam, each.effective_labels} <= values
    assert said.difference.p in values


def test_people_contradict_the_run_and_are_believed():
    worse = dataclasses.replace(validation(), answer="worse", sentence="People like it less.")
    source = page(judged(PLAIN, "drive", worse), BUNDLE)
    assert '<header class="top bad">' in source
    assert "<title>e2e_nlg: worse, validated by people</title>" in source


def test_simulated_annotators_are_never_called_people_in_a_claim():
    run = judged(PLAIN, "drive", validation(simulated=True), simulated=True)
    for text in (read(run).text, markdown.reporter.render(run)["summary.md"].decode()):
        assert "validated by simulated annotators" in text
        assert "validated by people" not in text
        assert "simulated annotators" in text.partition("G0")[0].lower()
    assert read(run).text.count("Simulated.") == 2


def test_a_judge_without_people_says_so_beside_the_headline():
    text = read(judged(PLAIN, "drive")).text
    assert "not validated by people" in text.partition("Results on the test set")[0]
    assert "not validated" not in read(PLAIN).text


def test_a_run_whose_judge_gave_way_to_a_metric_is_not_validated_either():
    fallen_back = dataclasses.replace(PLAIN.result, selection=chosen(judge=METRIC, grade="advisory"))
    badge = judges.badge(dataclasses.replace(PLAIN, result=fallen_back))
    assert badge is not None
    assert badge.words == "not validated by people"


def test_an_unproven_judge_gives_no_colour_to_the_headline():
    assert '<header class="top quiet">' in page(judged(PLAIN, "advisory"), BUNDLE)
    assert '<header class="top good">' in page(judged(PLAIN, "advisory", validation()), BUNDLE)


def test_a_fallback_metric_keeps_its_colour():
    run = judged(PLAIN, "advisory")
    compared = tuple(dataclasses.replace(each, metric="rouge_l") for each in run.result.comparisons)
    found = page(dataclasses.replace(run, result=dataclasses.replace(run.result, comparisons=compared)), BUNDLE)
    assert '<header class="top good">' in found


def test_warning_about_the_labels_is_on_page_and_in_summary_once():
    run = judged(PLAIN, "drive", validation(warning="the labels are of another system"))
    assert read(run).text.count("the labels are of another system") == 1
    assert markdown.reporter.render(run)["summary.md"].decode().count("the labels are of another system") == 1


def test_every_number_of_a_card_is_on_the_page():
    run = judged(PLAIN, "shortlist")
    found = read(run)
    mine, values = run.judges[0], set(found.values)
    for each in (*mine.agreement, *mine.human, *(one for column in mine.controls.values() for one in column)):
        assert each.value is None or {each.value, each.low, each.high} <= values
    for bar in mine.reliability:
        assert {bar.predicted, bar.observed, bar.low, bar.high} <= values
    for pair in mine.transport:
        assert {pair.difference, pair.low, pair.high} <= values
    assert mine.sd_difference in values
    told = [mine.licence.reasons[0], *mine.notes, *mine.annotators, *mine.systems, *mine.licence.fingerprint.values()]
    told += [line.what for line in mine.licence.lines] + [probe.limit for probe in mine.probes]
    told += ["about 130 more labels", "Probes: 1 inconclusive, 1 pass, 1 not run", "label-000", "and 28 more", "cuts"]
    assert [each for each in told if each not in found.text] == []


def test_confusion_matrix_is_shaded_by_share_of_its_row():
    # 41 of 67 answers that people gave a 3: six tenths
    assert [(cell.count, cell.shade) for cell in cards.confusion_rows(card())[2][1]] == [
        (1, 0),
        (10, 1),
        (41, 6),
        (14, 2),
        (1, 0),
    ]


def test_ceiling_stands_beside_the_figure_it_is_the_ceiling_of():
    rows = {row.name: row for row in cards.agreement_rows(card())}
    assert rows["spearman"].people == figure("human_human_spearman", 0.7441)
    assert rows["weighted_kappa"].people is None
    assert rows["alpha"].judge is None
    assert [None if each is None else each.value for each in rows["spearman"].controls] == [0.2113, None]


def test_judge_in_a_persons_place_has_its_share_of_the_ceiling():
    row = cards.ceiling_rows(card())[0]
    shown = [None if each is None else each.value for each in (row.people, row.judge, row.share)]
    assert [row.name, *shown] == ["spearman", 0.7441, 0.6003, 0.8067]
    assert not [each for each in cards.agreement_rows(card()) if "ceiling" in each.name or "judge" in each.name]


def test_figures_to_look_at_first_stand_first_and_no_figure_is_lost():
    laid_out = cards.card_tables(card(), "judge", ())
    assert [row.name for row in laid_out.agreement] == ["weighted_kappa", "balanced_accuracy", "spearman"]
    assert [row.name for row in laid_out.more_agreement] == ["alpha"]
    other = dataclasses.replace(card(), agreement=(figure("own", 0.5),), human=(), controls={})
    assert [row.name for row in cards.card_tables(other, "judge", ()).agreement] == ["own"]


def test_reasons_that_the_gate_repeats_are_said_once():
    mine = card("advisory")
    assert cards.own_reasons(mine) == ("Its rubric changed since.",)
    text = read(judged(PLAIN, "advisory")).text
    assert text.count("agrees with people: 0.62 [0.51, 0.71], 0.4 is needed") == 1


def test_long_gate_shows_what_did_not_pass_and_folds_the_rest():
    lines = tuple(GateLine("G4", f"probe {at}", "fail" if at == 7 else "pass", "found") for at in range(12))
    long = dataclasses.replace(card(), licence=dataclasses.replace(licence("advisory"), lines=lines))
    laid_out = cards.card_tables(long, "judge", ())
    assert [line.name for line in laid_out.gate] == ["probe 7"]
    assert len(laid_out.passed) == 11


def test_reliability_diagram_has_the_bars_and_their_intervals():
    mine = card()
    dots = card_figures(mine, "x")["x-reliability"]["data"][0]  # type: ignore[index,call-overload]
    assert dots["x"] == [bar.predicted for bar in mine.reliability]  # type: ignore[index,call-overload]
    assert dots["y"] == [bar.observed for bar in mine.reliability]  # type: ignore[index,call-overload]
    assert dots["error_y"]["array"] == pytest.approx([0.09] * 5)  # type: ignore[index,call-overload]
    sizes = dots["marker"]["size"]  # type: ignore[index,call-overload]
    assert max(sizes) == sizes[3]  # type: ignore[type-var,index]


def test_forest_plot_shows_the_whole_margin_and_the_failing_pair_in_its_colour():
    drawn = transport(card("advisory").transport, 0.1)
    low, high = drawn["layout"]["xaxis"]["range"]  # type: ignore[index,call-overload,misc]
    assert low < -0.1  # type: ignore[operator]
    assert high > 0.202  # type: ignore[operator]
    assert [each["marker"]["color"] for each in drawn["data"]] == ["@good", "@bad"]  # type: ignore[index,call-overload,union-attr]


def test_forest_plot_of_many_systems_keeps_the_pairs_that_did_not_pass():
    pairs = [Transport(f"s{at}", "base", 0.001 * at, -0.05, 0.05, (9, 9), "pass") for at in range(30)]
    pairs.append(Transport("odd", "base", 0.0, -0.2, 0.2, (9, 9), "inconclusive"))
    drawn = transport(pairs, 0.1)
    assert len(drawn["data"]) == 12  # type: ignore[arg-type]
    assert "<b>odd</b>" in str(drawn["data"])
    assert "<b>s0</b>" not in str(drawn["data"])


def test_nothing_measured_gives_no_chart():
    bare = dataclasses.replace(card(), reliability=(), transport=())
    assert card_figures(bare, "x") == {}


def test_undefined_ends_of_a_bar_draw_no_error():
    nan = float("nan")
    bars = tuple(dataclasses.replace(bar, low=nan, high=nan) for bar in card().reliability)
    run = judged(PLAIN, "drive")
    run = dataclasses.replace(run, judges=(dataclasses.replace(run.judges[0], reliability=bars),))
    carried = payload(page(run, BUNDLE))["charts"]["judge-1-reliability"]  # type: ignore[index,call-overload]
    assert carried["data"][0]["error_y"]["array"] == [0.0] * 5
    assert "NaN" not in str(carried)


def test_each_of_several_judges_has_its_own_charts():
    run = judged(PLAIN, "drive")
    second = dataclasses.replace(card("advisory"), judge="tone")
    source = page(dataclasses.replace(run, judges=(*run.judges, second)), BUNDLE)
    places = set(re.findall(r'data-chart="(judge-[^"]*)"', source))
    assert places == {"judge-1-reliability", "judge-1-transport", "judge-2-reliability", "judge-2-transport"}
    assert places <= payload(source)["charts"].keys()  # type: ignore[union-attr]


def chosen(**changes: object) -> Selection:
    return dataclasses.replace(PLAIN.result.selection, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (chosen(), ""),
        (chosen(judge=METRIC, grade="drive", metric=METRIC), "helpfulness chose alone, which its grade permits"),
        (
            chosen(judge=METRIC, grade="shortlist", shortlist=(50, 150)),
            "helpfulness left steps 50, 150; rouge_l chose among them",
        ),
        (
            chosen(judge="helpfulness", grade="shortlist", shortlist=(50, 150), by_people=40),
            "helpfulness left steps 50, 150; labels chose among them, on 40 validation samples",
        ),
        (chosen(judge=METRIC, grade="shortlist"), "helpfulness left every checkpoint; rouge_l chose"),
        (chosen(judge=METRIC, grade="advisory"), "helpfulness is shown and chose nothing; rouge_l chose"),
    ],
)
def test_choice_of_a_checkpoint_says_what_the_judge_had_to_do_with_it(selection: Selection, said: str):
    assert judges.choice(selection) == said


def test_summary_holds_the_claim_the_gate_and_the_uncalibrated_name():
    text = markdown.reporter.render(judged(PLAIN, "advisory", validation()))["summary.md"].decode()
    assert text.startswith("# e2e_nlg: better, validated by people\n\n**People prefer step-000150")
    assert "| difference | +0.118 | [+0.067, +0.170] | 100 | 900 | 100 | 0.62 | 0.81 | 151 | PPI++, clustered |" in text
    assert "judge:helpfulness (uncalibrated)" in text
    assert "| G1 agrees with people | fail |" in text
    assert "Judge: helpfulness is shown and chose nothing; rouge_l chose." in text


def test_figures_on_validation_are_the_records_numbers_with_their_warnings():
    run = judged(PLAIN, "drive")
    found = read(run)
    for each in run.corrected:
        stands = {each.value, each.low, each.high, each.rho, each.effective_labels} - {None}
        assert stands <= set(found.values)
        assert each.name in found.text
        assert each.method in found.text
    assert "411" in found.text
    assert found.text.count("Mind: corrected by labels on answers of 'base-0shot'") == 1
    assert "By people, on validation" in found.text


def test_figures_on_validation_stand_in_the_summary():
    text = markdown.reporter.render(judged(PLAIN, "drive"))["summary.md"].decode()
    assert "## By people, on validation" in text
    assert "**Mind, judge:helpfulness of step-000150: corrected by labels on answers of 'base-0shot'**" in text
    row = "| judge:helpfulness of base-0shot | 0.541 [0.504, 0.578] | 100 | 411 | 0.62 | 151 | PPI++, clustered |"
    assert row in text
    assert "| judge:helpfulness of step-000150 | 0.663 [0.610, 0.716] | 100 | 900 | – | – | labels alone |" in text


def test_simulated_annotators_are_not_called_people_on_validation_either():
    run = judged(PLAIN, "drive", simulated=True)
    for text in (read(run).text, markdown.reporter.render(run)["summary.md"].decode()):
        assert "By simulated annotators, on validation" in text
        assert "By people, on validation" not in text


def test_without_labels_on_validation_there_is_no_table_of_them():
    run = dataclasses.replace(judged(PLAIN, "drive"), corrected=())
    for text in (read(run).text, markdown.reporter.render(run)["summary.md"].decode()):
        assert "By people" not in text


def test_answers_that_a_judge_could_not_score_are_counted_beside_its_score():
    run = judged(PLAIN, "drive")
    first, *others = run.result.evaluations
    estimates = (dataclasses.replace(first.estimates[0], failures=7, n=first.n - 7), *first.estimates[1:])
    lost = dataclasses.replace(first, estimates=estimates)
    run = dataclasses.replace(run, result=dataclasses.replace(run.result, evaluations=(lost, *others)))
    assert read(run).text.count("7 answers without a score") == 1
    assert markdown.reporter.render(run)["summary.md"].decode().count("(7 without a score)") == 1
