"""Other scripts: what is compared where words are not spaced, or not Latin."""

from __future__ import annotations

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from harness.data.scripts import spaced
from harness.metrics.tokens import is_english, script_of, words

ROUGES = ["rouge_1", "rouge_2", "rouge_l", "rouge_lsum"]
SENTENCES = {
    "Chinese": "狗在垫子上睡觉",
    "Japanese": "犬がマットの上で寝ています",
    "Thai": "สุนัขนอนบนเสื่อ",
    "Lao": "ໝານອນຢູ່ເທິງເສື່ອ",
    "Khmer": "ឆ្កែដេកលើកន្ទេល",
    "Burmese": "ခွေးသည်ဖျာပေါ်တွင်အိပ်နေသည်",
    "Korean": "개가 매트 위에서 자고 있다",
    "Russian": "Собака спит на тёплом коврике",
    "Arabic": "الكلب ينام على السجادة الآن",
    "Hindi": "कुत्ता चटाई पर सो रहा है",
}


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("name", [*ROUGES, "squad_f1", "bleu"])
def test_the_same_text_is_perfect_and_half_of_it_is_not_worthless(score, name, language):
    text = SENTENCES[language]
    best = 100 if name == "bleu" else 1
    assert score(name, [text], [text])[0] == pytest.approx(best)
    half = " ".join(text.split()[:3]) if " " in text else text[: len(text) // 2]
    assert 0 < score(name, [half], [text], **({"smooth": "exp"} if name == "bleu" else {}))[1][0] < best


@pytest.mark.parametrize("name", [*ROUGES, "squad_f1", "bleu"])
def test_texts_with_nothing_in_common_score_nothing(score, name):
    assert score(name, ["猫喜欢吃鱼"], ["狗在垫子上"])[0] == 0


def test_partial_credit_is_by_characters(score):
    # 狗在 of 狗在垫子上: precision 2/2, recall 2/5.
    assert score("rouge_1", ["狗在"], ["狗在垫子上"])[0] == pytest.approx(2 * 0.4 / 1.4)
    assert score("squad_f1", ["狗在"], ["狗在垫子上。"])[0] == pytest.approx(2 * 0.4 / 1.4)
    # Pairs: 1 of 1 and 1 of 4.
    assert score("rouge_2", ["狗在"], ["狗在垫子上"])[0] == pytest.approx(2 * 0.25 / 1.25)


def test_chinese_bleu_is_sacrebleus_zh(score, make, samples_of):
    outs, refs = ["狗在地上睡觉。", "他用 PyTorch 写代码"], ["狗在垫子上睡觉。", "她用 PyTorch 写代码"]
    theirs = sacrebleu.corpus_bleu(outs, [refs], tokenize="zh").score
    assert score("bleu", outs, refs)[0] == pytest.approx(theirs, rel=1e-12)
    assert "tok:zh|" in make("bleu", samples_of(refs)).signature


def test_every_sample_is_compared_in_its_own_script(score, make, samples_of):
    outs = ["the cat sat on the mat", "狗在垫子上睡", "кот сидит на полу"]
    refs = ["the cat sat on a mat", "狗在垫子上睡觉", "кот сидит на ковре"]
    value, rows = score("rouge_l", outs, refs)
    assert rows == [score("rouge_l", [out], [ref])[0] for out, ref in zip(outs, refs, strict=True)]
    assert value == pytest.approx(sum(rows) / 3)
    assert score("bleu", outs, refs)[1] == [
        score("bleu", [out], [ref])[1][0] for out, ref in zip(outs, refs, strict=True)
    ]
    samples = samples_of(refs)
    assert "tok:by-script[13a,intl,zh]" in make("bleu", samples).signature
    assert "tokens:by-script[a-z0-9,unicode-words+characters]" in make("rouge_l", samples).signature


def test_latin_text_is_compared_as_published(score, make, samples_of):
    outs, refs = ["Der Hund schläft, naïve!"], ["Der Hund schlief, naiv."]
    assert score("bleu", outs, refs)[0] == sacrebleu.corpus_bleu(outs, [refs]).score
    theirs = RougeScorer(["rouge1"]).score(refs[0], outs[0])["rouge1"].fmeasure
    assert score("rouge_1", outs, refs)[0] == theirs
    assert "tok:13a|" in make("bleu", samples_of(refs)).signature
    assert "tokens:a-z0-9|" in make("rouge_1", samples_of(refs)).signature


def test_unicode_words_keep_accents_that_rouge_cuts_at(score):
    assert score("rouge_1", ["Bär"], ["Bör"])[0] == 1  # as published: b and r
    assert score("rouge_1", ["Bär"], ["Bör"], tokenize="unicode")[0] == 0


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_words_are_rouges_own(text):
    from rouge_score.tokenize import tokenize

    assert words(text.lower()) == tokenize(text, None)


@pytest.mark.parametrize("stem", [False, True])
def test_stemming_is_rouges_own_in_unicode_words_too(score, stem):
    out, ref = "running dogs jumped", "a run of the dog jumps"
    expected = score("rouge_1", [out], [ref], use_stemmer=stem, tokenize="ascii")[0]
    assert score("rouge_1", [out], [ref], use_stemmer=stem, tokenize="unicode")[0] == expected


@given(st.text())
def test_spacing_changes_nothing_but_white_space(text):
    assert "".join(spaced(text).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", "latin"), ("3.14", "latin"), ("The dog", "latin"), ("Größe naïve", "latin"), ("tiếng Việt", "latin"),
        ("狗", "chinese"), ("狗 and PyTorch", "chinese"), ("犬が", "unspaced"), ("カー", "unspaced"),
        ("ไทย", "unspaced"),
        ("собака", "other"), ("개", "other"), ("the word собака", "latin"), ("हिन्दी", "other"), ("😀", "latin"),
    ],
)  # fmt: skip
def test_scripts_by_hand(text, script):
    assert script_of((text,)) == script


def test_marks_stay_with_their_letters():
    assert words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert words("ที่นี่") == ["ที่", "นี่"]


def test_caveats_say_what_is_english_only(make, samples_of):
    german, chinese = samples_of(["Größe über alles, schöne Grüße"]), samples_of(["狗在垫子上"])
    assert 'tokenize = "unicode"' in make("rouge_l", german).caveats[0]
    assert "stems are English" in make("rouge_l", chinese, use_stemmer=True).caveats[0]
    assert "English words a, an and the" in make("squad_f1", german).caveats[0]
    assert make("chrf", chinese).caveats == ()
    assert "word_order" in make("chrf", chinese, word_order=2).caveats[0]


def test_one_accent_in_a_hundred_letters_is_still_english(samples_of):
    assert is_english(samples_of(["the naive cafe " * 10, "naïve"]))
    assert not is_english(samples_of(["schöne Grüße"]))
