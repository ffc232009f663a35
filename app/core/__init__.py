"""What the web and the trainer share: tables, rules, the job queue. Imports nothing of ours from outside."""
