"""Log logic over a store that others implement: append, integrate, sign after commit, prove, export."""
