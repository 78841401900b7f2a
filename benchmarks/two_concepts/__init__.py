"""Two concepts in one picture: is each of both more itself than the plain base's word for it?"""
