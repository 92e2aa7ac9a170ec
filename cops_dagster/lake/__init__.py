"""Live files as one SQL namespace, the engine that reads them, and their Iceberg projection."""
