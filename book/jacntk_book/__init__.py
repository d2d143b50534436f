"""The paper's wing: experiments, stored results, data sets, the command, and what the chapters use to show them."""
