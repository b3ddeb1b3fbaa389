"""The sync endpoint's side of the protocol: tokens, requests, lines, sessions. No server, no clock of its own."""
