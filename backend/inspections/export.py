"""The operation log as a file for an inspection (备查导出): CSV in UTF-8 that Excel opens.

The first line says who took it, when, and which head of the chain stood then; the last one how many
rows there are, so that a file that was cut short shows it.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

from flask import json
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from backend.clock import SHANGHAI
from backend.db import transaction
from backend.http import words
from backend.http.csv_files import BOM, line
from backend.inspections.service import Names, names_in
from backend.operation_log import seals
from backend.operation_log.models import LogChannel, LogEntry
from backend.operation_log.service import DONE, LogFilter

HEADINGS = (
    "时间", "操作", "结果", "渠道", "操作人", "学工号", "卡", "对象", "办理前", "办理后",
    "核验材料", "收据号", "规定", "编号", "详情", "已封存",
)  # fmt: skip
CHANNELS = {
    LogChannel.MINI_PROGRAM: "小程序",
    LogChannel.KIOSK: "自助机",
    LogChannel.COUNTER: "柜台",
    LogChannel.HOTLINE: "热线",
    LogChannel.TERMINAL: "终端",
    LogChannel.PLATFORM: "支付平台",
    LogChannel.BATCH: "批处理",
}
ROWS_AT_ONCE = 1_000


def lines(
    *,
    wanted: LogFilter,
    taken_by: str,
    reference: str,
    action_words: Mapping[str, str],
    now: datetime,
) -> Iterator[str]:
    """Yield the file, line by line, oldest row first.

    Each thousand rows are a transaction of their own: whoever reads slowly holds none.  An action
    that `action_words` does not have stands for itself.
    """
    with transaction() as session:
        head = seals.head(session)
        until = seals.sealed_until(session)
    period = "—".join(_moment(at) for at in (wanted.since, wanted.until))
    yield BOM + line(
        f"校园卡操作台账 · 期间 {period} · 导出人 {taken_by} · 导出时间 {_moment(now)}"
        f" · 导出编号 {reference} · 链头 {head.number} {head.head.hex()}"
    )
    yield line(*HEADINGS)
    rows, place = 0, None
    while True:
        with transaction() as session:
            found = _page(session, wanted, place)
            names = names_in(session, found)
        for entry in found:
            yield _row(entry, names, action_words, until)
        rows += len(found)
        if len(found) < ROWS_AT_ONCE:
            break
        place = found[-1].at, found[-1].id
    yield line(f"共 {rows} 行 · 导出编号 {reference}")


def _page(
    session: Session, wanted: LogFilter, after: tuple[datetime, UUID] | None
) -> list[LogEntry]:
    query = wanted.apply(select(LogEntry))
    if after is not None:
        query = query.where(tuple_(LogEntry.at, LogEntry.id) > tuple_(*after))
    return list(session.scalars(query.order_by(LogEntry.at, LogEntry.id).limit(ROWS_AT_ONCE)))


def _row(entry: LogEntry, names: Names, action_words: Mapping[str, str], until: int) -> str:
    done = entry.outcome == DONE
    return line(
        _moment(entry.at),
        action_words.get(entry.action, entry.action),
        "成功" if done else words.said("zh-CN", entry.outcome, {}).title,
        CHANNELS[entry.channel],
        names.username(entry) or entry.actor,
        names.holder_number(entry),
        entry.card_id,
        entry.subject_id,
        _json(entry.before),
        _json(entry.after),
        _json(entry.documents),
        entry.receipt_number,
        _json(entry.policy_ids),
        entry.reference,
        _json(entry.facts or None),
        "是" if entry.written_by < until else "否",
    )


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}"


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
