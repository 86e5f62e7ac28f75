"""What training leaves on disk: keys, records, checkpoints, and files that survive a kill."""
