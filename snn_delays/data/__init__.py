"""Events, binning, data sets on disk and in memory. Knows nothing of networks."""
