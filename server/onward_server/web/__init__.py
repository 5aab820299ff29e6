"""What an exchange answers over HTTP: to anybody, without saying who asks."""
