"""pymssql (FreeTDS' DB-Library): `pymssql_.py PORT MODE CA SA_PASSWORD STATEMENTS`."""
import sys
import pymssql

port, mode, password = sys.argv[1], sys.argv[2], sys.argv[4]
words = {"none": "off", "login": "request", "tls": "require"}


def connect(user, word):
    return pymssql.connect(server="localhost", port=port, user=user, password=word, database="master", autocommit=True,
                           tds_version="7.4", encryption=words[mode])


connection = connect("sa", password)
cursor = connection.cursor()
for statement in open(sys.argv[5]).read().splitlines():
    cursor.execute(statement)
    if cursor.description:
        print(cursor.fetchall())
cursor.execute("SELECT %s AS a, %s AS b", ("it's", 7))
assert cursor.fetchall() == [("it's", 7)]
connection.close()
cursor = connect("it's", "Second'2-Pass").cursor()
cursor.execute("SELECT SUSER_SNAME()")
assert cursor.fetchall() == [("it's",)]
try:
    connect("it's", "First-Pass-1")
    sys.exit("the old password is taken")
except pymssql.OperationalError as error:
    assert error.args[0][0] == 18456, error
print("ok")
