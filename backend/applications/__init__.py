"""Temporary cards (临时卡): applied for, approved, opened, extended, ended early.

Source: regulation 三(三), 二(六).
"""
