"""What the notebooks run on: tasks, protocols, training, results, claims and figures."""
