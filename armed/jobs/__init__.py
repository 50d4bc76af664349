"""What each job of the workflow does, one function for each rule."""
