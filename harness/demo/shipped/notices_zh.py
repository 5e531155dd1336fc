"""Notes of a parcel desk in Chinese, and the one-line notices that its customers get."""

import json

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice

Row = dict[str, str]

# What holds a parcel up: as the notice says it, as the desk writes it.
CAUSES = {
    "大雪": ("今天下大雪", "雪太大了", "大雪封路"),
    "大雨": ("雨下得很大", "暴雨还没停", "整天下大雨"),
    "堵车": ("路上车太多", "高速堵住了", "进城的路不通"),
    "缺货": ("仓库没有货", "货还没到仓库", "库里卖完了"),
    "地址不明": ("门牌号不对", "找不到这个地址", "地址写得不全"),
}
# What happens next: as the notice says it, as the desk writes it.
NEXT = {
    "送达": ("{day}再送", "{day}能送到", "改到{day}送"),
    "自取": ("{day}请他来拿", "{day}来店里取", "{day}放在店里"),
    "退款": ("{day}把钱退掉", "{day}退钱给他", "不送了，{day}退钱"),
}
DAYS = ("周一", "周二", "周三", "周四", "周五", "周六", "周日")
CARRIERS = ("快车", "红马", "北风", "云路")


def draw(dice: Dice) -> Row:
    """A note on one parcel, and its notice of eight to ten characters: the cause, the day, what happens."""
    cause, then, day = dice.pick(list(CAUSES)), dice.pick(list(NEXT)), dice.pick(DAYS)
    parts = [f"{words.code(dice)}号包裹", dice.pick(CAUSES[cause]), dice.pick(NEXT[then]).format(day=day)]
    if dice.chance(0.4):
        parts.insert(dice.between(1, 2), f"{dice.pick(CARRIERS)}承运")
    return {"note": "，".join(parts) + "。", "notice": f"因{cause}，{day}{then}"}


def chat(row: Row) -> str:
    """The row as a line of a Gemini tuning file; its id stands beside the contents."""
    contents = [
        {"role": role, "parts": [{"text": row[field]}]} for role, field in (("user", "note"), ("model", "notice"))
    ]
    return json.dumps({"id": row["id"], "contents": contents}, ensure_ascii=False)
