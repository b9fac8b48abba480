"""Who and what the demo college has.  All invented; the document numbers only have valid digits."""

from dataclasses import dataclass

from backend.gates.models import Decision
from backend.gates.rules import GateAccess, Rule, minute_of
from backend.holders.models import Category, Employment, Identity
from backend.operators.models import Role
from backend.terminals.models import Reader, TerminalKind


@dataclass(frozen=True, slots=True)
class Person:
    """One holder of the demo."""

    holder_number: str
    name: str
    category: Category
    unit: str
    born: str
    platform: str = "wechat"
    pays_surcharge: bool = False
    bound: bool = True
    top_up_fen: int = 30_000
    valid_days: int = 900
    note: str = ""
    employment: Employment | None = None
    identity: Identity = Identity.REAL_NAME


SOFTWARE_1, SOFTWARE_2, FRESH = "软件2401班", "软件2402班", "软件2601班"
PEOPLE = (
    Person("20240101", "王小明", Category.STUDENT, SOFTWARE_1, "20050312"),
    Person("20240102", "李思雨", Category.STUDENT, SOFTWARE_1, "20050721", platform="alipay"),
    Person("20240103", "陈浩然", Category.STUDENT, SOFTWARE_1, "20041130", bound=False),
    Person("20240201", "赵子涵", Category.STUDENT, SOFTWARE_2, "20050118"),
    Person("20240202", "买买提·艾力", Category.STUDENT, SOFTWARE_2, "20050906", bound=False),
    Person("20240203", "周欣怡", Category.STUDENT, SOFTWARE_2, "20050425", bound=False),
    Person("20260101", "吴一诺", Category.NEW_STUDENT, FRESH, "20080214", bound=False),
    Person(
        "T0881",
        "张建国",
        Category.STAFF,
        "计算机学院",
        "19790615",
        employment=Employment.PUBLIC_INSTITUTION,
    ),
    Person(
        "T1207",
        "刘芳",
        Category.STAFF,
        "图书馆",
        "19880923",
        platform="alipay",
        employment=Employment.COLLEGE,
    ),
    Person(
        "P0310",
        "高磊",
        Category.STAFF,
        "后勤保卫处",
        "19850302",
        bound=False,
        employment=Employment.DISPATCHED,
    ),
    Person(
        "L0301",
        "孙强",
        Category.TEMPORARY_OUTSIDER,
        "后勤外包单位",
        "19900507",
        pays_surcharge=True,
        valid_days=120,
    ),
    Person(
        "L0302",
        "马建军",
        Category.TEMPORARY_OUTSIDER,
        "后勤外包单位",
        "19871109",
        bound=False,
        pays_surcharge=True,
        valid_days=60,
        identity=Identity.REGISTERED,
    ),
    Person("R0042", "何秀兰", Category.TEMPORARY_RETIRED, "退休教职工", "19580411"),
    Person(
        "20210377",
        "郑凯",
        Category.STUDENT,
        "软件2101班",
        "20020809",
        valid_days=-20,
        note="expired",
    ),
    Person("20240104", "林晓彤", Category.STUDENT, SOFTWARE_1, "20050602", note="lost"),
    Person(
        "20240204",
        "黄子轩",
        Category.STUDENT,
        SOFTWARE_2,
        "20041217",
        top_up_fen=0,
        note="short of money",
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """One terminal of the demo."""

    kind: TerminalKind
    place: str
    reader: Reader
    merchant: str | None = None
    stall: str | None = None


MERCHANTS = (("第一食堂", True), ("校园超市", False), ("图书馆咖啡", False))
PLACES = (
    Place(TerminalKind.TILL, "第一食堂 1号窗", Reader.CAMERA, "第一食堂", "1号窗"),
    Place(TerminalKind.TILL, "第一食堂 2号窗", Reader.HID, "第一食堂", "2号窗"),
    Place(TerminalKind.TILL, "校园超市 收银台", Reader.SERIAL, "校园超市", "收银台"),
    Place(TerminalKind.TILL, "图书馆咖啡 吧台", Reader.CAMERA, "图书馆咖啡", "吧台"),
    Place(TerminalKind.GATE, "图书馆 正门", Reader.CAMERA),
    Place(TerminalKind.GATE, "3号宿舍楼 大门", Reader.SERIAL),
    Place(TerminalKind.KIOSK, "行政楼 自助机", Reader.CAMERA),
    Place(TerminalKind.GATE, "实验楼 B座", Reader.CAMERA),
)
ACCESS = {
    "3号宿舍楼 大门": GateAccess(
        default=Decision.DENY,
        rules=(
            Rule(allow=True, unit=SOFTWARE_1),
            Rule(allow=True, unit=SOFTWARE_2),
            Rule(allow=True, category=Category.STAFF),
        ),
    ),
    "实验楼 B座": GateAccess(
        default=Decision.DENY,
        rules=(
            Rule(allow=True, unit=SOFTWARE_1, begins=minute_of("08:00"), ends=minute_of("22:00")),
        ),
    ),
}
"""Who may pass where; the other gates are open to the whole school at all hours."""
STAFF = (
    ("kazhongxin", Role.CARD_CENTRE),
    ("kazhongxin2", Role.CARD_CENTRE),
    ("caiwu", Role.FINANCE),
    ("caiwu2", Role.FINANCE),
    ("houqin", Role.LOGISTICS),
    ("jiaowu", Role.ACADEMIC),
    ("xuegong", Role.STUDENT_AFFAIRS),
    ("renshi", Role.PERSONNEL),
    ("shenji", Role.AUDITOR),
    ("guanli", Role.SYSTEM_ADMINISTRATOR),
)


CASHIER, CASH_SUPERVISOR = "houqin", "caiwu"


@dataclass(frozen=True, slots=True)
class CashDay:
    """One shift at the cash desk: who paid how much in notes, and how the count ended."""

    day: int
    """Of the month that the demo has lived."""
    payers: tuple[tuple[str, int], ...]
    mistaken: tuple[str, int] | None = None
    """Taken for the wrong holder, and taken back minutes later."""
    off_fen: int = 0
    note: str | None = None


CASH_SHIFTS = (
    CashDay(3, (("R0042", 20_000), ("L0301", 10_000)), mistaken=("T0881", 5_000)),
    CashDay(
        18,
        (("R0042", 5_000), ("T1207", 10_000), ("L0301", 3_000)),
        off_fen=-50,
        note="找零少收 5 角",
    ),
)


def document_number(person: Person) -> str:
    """Return an invented document number with a right check digit (GB 11643)."""
    body = f"110105{person.born}{sum(map(ord, person.holder_number)) % 900 + 10:03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))
    return body + "10X98765432"[total % 11]


def login_code(person: Person) -> str:
    """Return what names this person's platform account in the sandbox."""
    return f"{person.platform}-{person.holder_number.lower()}"
