"""Floor 8: the studio, a page in the browser that reads run directories and starts trainings."""
