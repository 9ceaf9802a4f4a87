CREATE LOGIN [it's] WITH PASSWORD = N'First-Pass-1'
ALTER LOGIN [it's] WITH PASSWORD = N'Second''2-Pass'
SELECT SUSER_SNAME() AS name, CONVERT(nvarchar(128), SERVERPROPERTY('EngineEdition')) AS edition, DB_NAME() AS base, @@VERSION AS version
SELECT l.name, l.is_disabled, l.is_policy_checked, CAST(LOGINPROPERTY(l.name, 'IsLocked') AS int) AS locked, HAS_PERMS_BY_NAME(l.name, 'LOGIN', 'ALTER') AS may FROM sys.sql_logins l WHERE l.name = N'it''s'
SELECT d.containment, d.state_desc FROM sys.databases d WHERE d.name = DB_NAME()
SELECT p.name, p.authentication_type, p.type_desc FROM sys.database_principals p WHERE p.name = N'dbo'
