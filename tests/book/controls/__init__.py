"""Negative controls of the ledger (book/claims.toml): each claim's measurement, made of a variant that is deliberately
broken as well. A check that would also accept the broken one says nothing.

Every function computes with the library, at sizes that take seconds, and returns the two numbers and the bound between
them. :func:`test_claims.test_the_check_holds_and_refuses_its_broken_variant` puts both to ``check``.
"""
