"""What holds for refunds on both channels: when to believe an answer, and when a no."""

from collections.abc import Callable

from payments.channel import (
    ChannelBusy,
    ChannelRejected,
    ChannelUnknown,
    Refund,
    RefundOrder,
    RefundState,
)


def untold(order: RefundOrder, state: RefundState) -> Refund:
    """Make the refund of which the platform tells no more than this state."""
    return Refund(order.out_refund_no, order.out_trade_no, state, None, None, None)


def check(refund: Refund, order: RefundOrder, *, trade_no: str) -> Refund:
    """Return the refund if it is the one that was ordered.

    Raises:
        ChannelUnknown: it is another.
    """
    told = (refund.out_refund_no, refund.out_trade_no, trade_no, refund.amount_fen)
    if told != (order.out_refund_no, order.out_trade_no, order.trade_no, order.amount_fen):
        raise ChannelUnknown("content")
    return refund


def asked(query: Callable[[RefundOrder], Refund], order: RefundOrder) -> Refund:
    """Query, where a refusal to tell must not pass for a refusal to refund.

    Raises:
        ChannelUnknown: no trustworthy answer.
    """
    try:
        return query(order)
    except ChannelRejected as refused:
        raise ChannelUnknown(refused.code) from None
    except ChannelBusy as busy:  # the query was not sent, but the refund was
        raise ChannelUnknown(busy.reason) from None


def believed_no(query: Callable[[RefundOrder], Refund], order: RefundOrder, code: str) -> Refund:
    """Return the refund after all, if the platform knows it: an earlier attempt was taken.

    Raises:
        ChannelRejected: it does not; `code` is why it refused.
        ChannelUnknown: it cannot be asked.
    """
    refund = asked(query, order)
    if refund.state is RefundState.UNKNOWN:
        raise ChannelRejected(code)
    return refund
