"""What the chapters use beside the mathematics: checks, plots, animations, intervals."""
