"""What the project is made of: packages, their licences, and what is known against them."""
