"""From records to tables and decisions: metrics, scores, comparison, gate, leaderboard, report. Torch-free."""
