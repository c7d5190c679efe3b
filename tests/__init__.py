"""Tests, in the rooms of the package; `support` has what they share, `oracles` what they compare with."""
