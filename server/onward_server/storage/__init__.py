"""Where the exchange keeps what it knows. Storage knows no policy."""
