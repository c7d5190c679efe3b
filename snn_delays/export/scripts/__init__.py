"""Programs that run an exported network in a simulator; each is copied into the export and stands there alone."""
