"""Bills as the platforms write them, put together by hand: sharing no code with us."""

import gzip
import io
import zipfile

WECHAT_HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
WECHAT_TOTALS = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)
OLD_WECHAT_HEADER = (
    "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,总金额,企业红包金额,微信退款单号,商户退款单号,退款金额,企业红包退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率"
)
OLD_WECHAT_TOTALS = "总交易单数,总交易额,总退款金额,总企业红包退款金额,手续费总金额"
WECHAT_PAID = (
    "`2026-11-24 07:30:01,`wx00000000000000aa,`1900000109,`0,`,`4200000000000000000000000001,"
    "`11111111111111111111111111111111,`oPayer0000000000000000000001,`JSAPI,`SUCCESS,`OTHERS,`CNY,"
    "`19.90,`0.00,`0,`0,`0.00,`0.00,`,`,`{name},`,`0.12000,`0.60%,`19.90,`0.00,`"
)
WECHAT_BACK = (
    "`2026-11-24 23:59:59,`wx00000000000000aa,`1900000109,`0,`,`4200000000000000000000000002,"
    "`22222222222222222222222222222222,`oPayer0000000000000000000002,`NATIVE,`REFUND,`OTHERS,`CNY,"
    "`0.00,`0.00,`50000000000000000000000000001,`33333333333333333333333333333333,`5.00,`0.00,"
    "`ORIGINAL,`PROCESSING,`{name},`,`-0.03000,`0.60%,`0.00,`5.00,`"
)
WECHAT_SUMS = "`2,`19.90,`5.00,`0.00,`0.09000,`19.90,`5.00"
OLD_WECHAT_PAID = (
    "`2026-11-24 07:30:01,`wx00000000000000aa,`1900000109,`0,`,`4200000000000000000000000001,"
    "`11111111111111111111111111111111,`oPayer0000000000000000000001,`JSAPI,`SUCCESS,`CFT,`CNY,"
    "`19.90,`0.00,`0,`0,`0.00,`0.00,`,`,`{name},`,`0.12000,`0.60%"
)
OLD_WECHAT_BACK = (
    "`2026-11-24 23:59:59,`wx00000000000000aa,`1900000109,`0,`,`4200000000000000000000000002,"
    "`22222222222222222222222222222222,`oPayer0000000000000000000002,`NATIVE,`REFUND,`CFT,`CNY,"
    "`0.00,`0.00,`50000000000000000000000000001,`33333333333333333333333333333333,`5.00,`0.00,"
    "`ORIGINAL,`SUCCESS,`{name},`,`-0.03000,`0.60%"
)
OLD_WECHAT_SUMS = "`2,`19.90,`5.00,`0.00,`0.09000"

ALIPAY_DETAIL_HEAD = (
    "#支付宝业务明细查询",
    "#账号：[20880000000000010156]",
    "#起始日期：[2026年11月24日 00:00:00]   终止日期：[2026年11月25日 00:00:00]",
    "#-----------------------------------------业务明细列表----------------------------------------",
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,"  # noqa: ISC004 - one line
    "对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,"
    "商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,"
    "退款批次号/请求号,服务费（元）,分润（元）,备注",
)
ALIPAY_PAID = (
    "2026112422001400000000000001\t,11111111111111111111111111111111\t,交易\t,{name},"
    "2026-11-24 07:30:00,2026-11-24 07:30:01,\t,\t,\t,\t,*明(137****2600)\t,"
    "19.90,19.90,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,\t,-0.12,0.00,{remark}"
)
ALIPAY_BACK = (
    "2026112422001400000000000002\t,22222222222222222222222222222222\t,退款\t,{name},"
    "2026-11-20 10:00:00,2026-11-24 23:59:59,\t,\t,\t,\t,*明(137****2600)\t,"
    "-5.00,-5.00,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,"
    "33333333333333333333333333333333\t,0.03,0.00,{remark}"
)
ALIPAY_DETAIL_FOOT = (
    "#-----------------------------------------业务明细列表结束------------------------------------",
    "#交易合计：1笔，商家实收共19.90元，商家优惠共0.00元",
    "#退款合计：1笔，商家实收退款共-5.00元，商家优惠退款共0.00元",
    "#导出时间：[2026年11月25日 06:27:10]",
)
ALIPAY_SUMMARY = (
    "#支付宝业务汇总查询",
    "#账号：[20880000000000010156]",
    "#起始日期：[2026年11月24日 00:00:00]   终止日期：[2026年11月25日 00:00:00]",
    "#-----------------------------------------业务汇总列表----------------------------------------",
    "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,"  # noqa: ISC004
    "商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）",
    "合计\t,\t,1\t,1\t,14.90\t,14.90\t,0.00\t,0.00\t,0.00\t,-0.09\t,0.00\t,14.81\t",
    "#----------------------------------------业务汇总列表结束-------------------------------------",
    "#导出时间：[2026年11月25日 06:27:10]",
)


def wechat_bill(
    *,
    name: str = "校园卡充值",
    old: bool = False,
    changes: tuple[tuple[str, str], ...] = (),
    packed: bool = True,
    mark: str = "\ufeff",
) -> bytes:
    """Put a bill of one payment and one refund together, with changes of its text."""
    lines = (
        (OLD_WECHAT_HEADER, OLD_WECHAT_PAID, OLD_WECHAT_BACK, OLD_WECHAT_TOTALS, OLD_WECHAT_SUMS)
        if old
        else (WECHAT_HEADER, WECHAT_PAID, WECHAT_BACK, WECHAT_TOTALS, WECHAT_SUMS)
    )
    text = mark + "".join(f"{line}\r\n" for line in lines).replace("{name}", name)
    content = _changed(text, changes).encode()
    return gzip.compress(content, mtime=0) if packed else content


def alipay_bill(
    *,
    name: str = "校园卡充值",
    remark: str = "",
    changes: tuple[tuple[str, str], ...] = (),
    coding: str = "gb18030",
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """Put a bill of one payment and one refund together, with changes of the texts of its files."""
    rows = [
        row.replace("{name}", name).replace("{remark}", remark)
        for row in (ALIPAY_PAID, ALIPAY_BACK)
    ]
    detail = "".join(f"{line}\r\n" for line in (*ALIPAY_DETAIL_HEAD, *rows, *ALIPAY_DETAIL_FOOT))
    summary = "".join(f"{line}\r\n" for line in ALIPAY_SUMMARY)
    both = _changed(detail + "\0" + summary, changes).split("\0")
    return zipped(
        {
            f"20880000000000010156_20261124_业务明细{which}.csv": text.encode(coding)
            for which, text in zip(("", "(汇总)"), both, strict=True)
        },
        method=method,
    )


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Zip files under GBK names, as Alipay does, without the flag that says UTF-8."""
    packed, names = io.BytesIO(), {}
    with zipfile.ZipFile(packed, "w", method) as archive:
        for place, (name, content) in enumerate(files.items(), start=1):
            true = name.encode("gb18030")
            stand_in = str(place) * len(true)
            names[stand_in.encode()] = true
            info = zipfile.ZipInfo(stand_in)
            info.compress_type = method
            archive.writestr(info, content)
    raw = packed.getvalue()
    for stand_in, true in names.items():
        raw = raw.replace(stand_in, true)
    return raw


def _changed(text: str, changes: tuple[tuple[str, str], ...]) -> str:
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after, 1)
    return text
