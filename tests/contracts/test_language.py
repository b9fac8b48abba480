"""One word per concept, whole money, aware time: read out of the code itself."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("backend", "payments", "qr")
BUILT = [
    "持卡人",
    "学工号",
    "实名绑定",
    "解绑",
    "虚拟卡",
    "实体卡",
    "动态码",
    "消费",
    "冲正",
    "充值",
    "退款",
    "渠道",
    "回调",
    "通行",
    "商户",
    "窗口",
    "终端",
    "收银",
    "门禁",
    "自助机",
    "台账",
    "挂失",
    "解挂",
    "冻结",
    "开户",
    "销户",
    "过期",
    "钱包",
    "余额",
    "流水",
    "账单",
    "分录",
    "搭伙费",
    "补贴",
    "限额",
    "脱机上送",
    "欠费",
    "复核",
    "现金充值",
    "班次",
    "收据",
    "备用金",
    "交款",
    "长款",
    "消息",
    "订阅消息",
    "发件箱",
]
"""Terms of the glossary whose concept is in the code."""
NAIVE = {"utcnow", "utcfromtimestamp", "today"}


@cache
def texts() -> dict[Path, str]:
    """Return every module that is shipped."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {path: path.read_text("utf-8") for path in paths}


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Yield every module that is shipped, parsed."""
    for path, text in texts().items():
        yield path, ast.parse(text)


def names_in(node: ast.AST) -> set[str]:
    """Return every name that an expression uses."""
    found = (getattr(n, "id", None) or getattr(n, "attr", None) for n in ast.walk(node))
    return {name for name in found if name}


class TestTime:
    def test_is_never_naive(self) -> None:
        for path, module in modules():
            for node in ast.walk(module):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                where = f"{path}:{node.lineno}"
                assert node.func.attr not in NAIVE, where
                if ast.unparse(node.func) in ("datetime.now", "datetime.fromtimestamp"):
                    zone = 0 if node.func.attr == "now" else 1
                    assert len(node.args) > zone or node.keywords, where


class TestMoney:
    def test_never_meets_a_float(self) -> None:
        for path, module in modules():
            for node in ast.walk(module):
                where = f"{path}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.BinOp) and any(
                    name.endswith("_fen") for name in names_in(node)
                ):
                    assert not isinstance(node.op, ast.Div), where
                    for part in ast.walk(node):
                        assert not isinstance(getattr(part, "value", None), float), where
                if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
                    name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
                    assert not name.endswith("_fen") or "float" not in names_in(node.annotation)


class TestGlossary:
    @pytest.mark.parametrize("term", BUILT)
    def test_term_stands_where_its_concept_is(self, term: str) -> None:
        readmes = [path.read_text("utf-8") for path in ROOT.glob("README*.md")]
        assert any(term in text for text in [*texts().values(), *readmes])
