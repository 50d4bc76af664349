"""One file for deposit: what a run found, without restricted data; and the check that its tables follow from what is in it."""
