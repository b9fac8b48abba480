"""Issuing cards (发卡): class batches, and the exchange of new-student cards (换卡).

Source: regulation 三(二), 二(五).
"""
