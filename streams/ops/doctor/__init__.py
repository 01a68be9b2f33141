"""What is wrong with an installation, in words: facts are gathered, and pure checks judge them."""
