"""What advances: a learner makes one update of its models and knows how to go on later."""
