"""What is kept about a holder, all of it, for themselves (个人信息查阅)."""
