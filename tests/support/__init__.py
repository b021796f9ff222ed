"""What the tests share: plain functions, loaded by the conftest of all tiers as the package `support`."""
