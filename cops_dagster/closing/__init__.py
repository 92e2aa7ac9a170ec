"""What people decide about a month: readiness, states, approvals, the close and its proof.

Start at `readiness.py`.
"""
