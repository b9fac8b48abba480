"""Whether anything that the system keeps gives a person or an access away (泄露扫描)."""
