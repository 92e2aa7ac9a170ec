"""Where decisions, files and proof are kept. No decisions are taken here."""
