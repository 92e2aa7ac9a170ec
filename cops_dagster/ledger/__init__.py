"""One function per act: deliver, ingest, tag, allocate, publish, reconcile, sweep."""
