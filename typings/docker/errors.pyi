class DockerException(Exception): ...

class APIError(DockerException):
    status_code: int
    explanation: str

class NotFound(APIError): ...
