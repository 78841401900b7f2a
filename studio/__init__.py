"""Studio (`vico studio`): a web page for people who do not code: photos → concept → pictures."""
