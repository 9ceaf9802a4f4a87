"""python-tds: `python_tds.py PORT MODE CA SA_PASSWORD`."""
import sys
import pytds

port, mode, ca, password = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
tls = {"none": {}, "login": {"cafile": ca, "enc_login_only": True}, "tls": {"cafile": ca}}[mode]


def connect(user, word):
    return pytds.connect(dsn="localhost", port=port, user=user, password=word, database="master", autocommit=True, **tls)


def names(text):
    return [line for line in open(text).read().splitlines() if line]


with connect("sa", password) as connection, connection.cursor() as cursor:
    for statement in names(sys.argv[5]):
        cursor.execute(statement)
        if cursor.description:
            print(cursor.fetchall())
    cursor.execute("SELECT %s AS a, %s AS b", ("it's \u20ac", 7))
    assert cursor.fetchall() == [("it's \u20ac", 7)]
with connect("it's", "Second'2-Pass") as connection, connection.cursor() as cursor:
    cursor.execute("SELECT SUSER_SNAME()")
    assert cursor.fetchall() == [("it's",)]
try:
    connect("it's", "First-Pass-1")
    sys.exit("the old password is taken")
except pytds.Error as error:
    assert "Login failed for user" in str(error), error
print("ok")
