"""What people read about a month: the close report, its figures, its charts."""
