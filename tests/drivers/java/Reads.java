import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

/** pgjdbc against the server that PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD name; one line a step. */
public class Reads {
    static void step(String name, Object... seen) {
        StringBuilder line = new StringBuilder(name);
        for (Object part : seen) line.append(" | ").append(part);
        System.out.println(line.toString().replace("\n", "\\n"));
    }

    static String rows(ResultSet found) throws SQLException {
        ResultSetMetaData columns = found.getMetaData();
        StringBuilder text = new StringBuilder();
        for (int i = 1; i <= columns.getColumnCount(); i++) text.append(columns.getColumnLabel(i)).append(':').append(columns.getColumnTypeName(i)).append(' ');
        while (found.next()) {
            text.append(" / ");
            for (int i = 1; i <= columns.getColumnCount(); i++) text.append(found.getString(i)).append(',');
        }
        return text.toString();
    }

    /** A type is in the alias schema behind pgwicket, and where it was made in the copy. */
    static String unqualified(String type) {
        return type.replace("\"", "").replaceFirst("^[a-z_]+[.]", "");
    }

    /** The metadata a tool draws a tree from; OIDs and server-side oddities left out. */
    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData data = connection.getMetaData();
        String schema = "external_support";
        step("product", data.getDatabaseProductName(), data.getDatabaseMajorVersion(), data.supportsTransactions(), data.getIdentifierQuoteString());
        List<String> tables = new ArrayList<>();
        try (ResultSet found = data.getTables(null, schema, "%", new String[] {"TABLE", "VIEW"})) {
            while (found.next()) tables.add(found.getString("TABLE_NAME") + ":" + found.getString("TABLE_TYPE"));
        }
        Collections.sort(tables);
        for (String table : tables) step("table", table);
        try (ResultSet found = data.getColumns(null, schema, "%", "%")) {
            while (found.next()) step("column", found.getString("TABLE_NAME"), found.getString("COLUMN_NAME"), unqualified(found.getString("TYPE_NAME")), found.getInt("DATA_TYPE"),
                    found.getInt("COLUMN_SIZE"), found.getString("IS_NULLABLE"), found.getInt("ORDINAL_POSITION"));
        }
        for (String table : tables) {
            String name = table.substring(0, table.indexOf(':'));
            try (ResultSet found = data.getPrimaryKeys(null, schema, name)) {
                while (found.next()) step("primary key", name, found.getString("COLUMN_NAME"), found.getInt("KEY_SEQ"));
            }
            try (ResultSet found = data.getImportedKeys(null, schema, name)) {
                while (found.next()) step("foreign key", name, found.getString("FKCOLUMN_NAME"), found.getString("PKTABLE_NAME"), found.getString("PKCOLUMN_NAME"));
            }
        }
        try (ResultSet found = data.getSchemas(null, schema)) { step("schemas", rows(found)); }
        try (ResultSet found = data.getTypeInfo()) { int count = 0; while (found.next()) count++; step("types", count > 30); }
        try (ResultSet found = data.getTableTypes()) { step("table types", rows(found).length() > 10); }
    }

    static void reads(Connection connection) throws SQLException {
        String[] statements = {
            "select id, subject, priority, customer_id, assignee, rating, amount, tags, meta, public_id, created_at from tickets where id <= 24 order by id",
            "select * from customers where id < 20 order by id", "select '' as empty, null::text as nothing, array['', null] as items, true as yes",
            "select (-32768)::int2 as a, 2147483647::int4 as b, (-9223372036854775808)::int8 as c, 'NaN'::float8 as d, 1.10::numeric as e",
            "select date '2024-02-29' as d, timestamp '2024-02-29 23:59:59.999999' as t, '\\x00ff'::bytea as b, interval '1 day' as i",
        };
        for (String text : statements) {
            try (Statement statement = connection.createStatement(); ResultSet found = statement.executeQuery(text)) { step("read", rows(found)); }
        }
        // The fifth execution is where pgjdbc begins to use a named statement and binary results.
        try (PreparedStatement prepared = connection.prepareStatement("select id, subject, amount, created_at, public_id from tickets where id = ? and amount >= ?")) {
            for (int id : new int[] {1, 2, 3, 4, 10, 11, 12, 13}) {
                prepared.setLong(1, id);
                prepared.setBigDecimal(2, new BigDecimal("-1000000"));
                try (ResultSet found = prepared.executeQuery()) { step("prepared " + id, rows(found)); }
            }
            step("parameters", prepared.getParameterMetaData().getParameterCount(), prepared.getParameterMetaData().getParameterTypeName(1));
        }
        try (PreparedStatement prepared = connection.prepareStatement("select id from tickets where id = any(?) order by id")) {
            prepared.setArray(1, connection.createArrayOf("int8", new Long[] {1L, 2L, 3L}));
            try (ResultSet found = prepared.executeQuery()) { step("array", rows(found)); }
        }
        connection.setAutoCommit(false);
        try (PreparedStatement prepared = connection.prepareStatement("select id from tickets where id < ? order by id")) {
            prepared.setFetchSize(7);
            prepared.setLong(1, 120);
            try (ResultSet found = prepared.executeQuery()) { step("fetch size", rows(found)); }
        }
        connection.commit();
        Savepoint savepoint = connection.setSavepoint("here");
        fails("in a savepoint", connection, "select 1 / 0");
        connection.rollback(savepoint);
        try (Statement statement = connection.createStatement(); ResultSet found = statement.executeQuery("select count(*) from tickets where id < 50")) { step("after it", rows(found)); }
        connection.commit();
        connection.setAutoCommit(true);
        try (Statement statement = connection.createStatement()) {
            boolean first = statement.execute("select 1 as one; select id from tickets where id = 12");
            step("two statements", first, rows(statement.getResultSet()), statement.getMoreResults(), rows(statement.getResultSet()));
        }
        org.postgresql.copy.CopyManager copies = connection.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
        java.io.StringWriter out = new java.io.StringWriter();
        try {
            long rows = copies.copyOut("copy (select id, subject from tickets where id < 20 order by id) to stdout with (format csv, header)", out);
            step("copy", rows, out);
        } catch (java.io.IOException error) {
            step("copy", error.getMessage());
        }
    }

    static void fails(String name, Connection connection, String text) {
        try (Statement statement = connection.createStatement()) {
            statement.execute(text);
            step(name, "no error");
        } catch (SQLException error) {
            step(name, error.getSQLState());
        }
    }

    static void refusals(Connection connection) throws SQLException {
        for (String text : new String[] {"select internal_notes from tickets", "select * from invoices", "selekt 1", "update tickets set priority = 'x' where id = 42",
            "delete from tickets where id = 1", "insert into tickets (id, subject) values (900001, 'x')"}) {
            fails(text, connection, text);
        }
        try (PreparedStatement prepared = connection.prepareStatement("update tickets set priority = ? where id = ?")) {
            for (long id = 40; id < 43; id++) {
                prepared.setString(1, "batch");
                prepared.setLong(2, id);
                prepared.addBatch();
            }
            prepared.executeBatch();
            step("batch", "no error");
        } catch (BatchUpdateException error) {
            step("batch", error.getSQLState());
        }
        try (Statement statement = connection.createStatement(); ResultSet found = statement.executeQuery("select 1")) { step("goes on", rows(found)); }
        step("valid", connection.isValid(5), connection.isReadOnly());
    }

    public static void main(String[] arguments) throws SQLException {
        Map<String, String> named = System.getenv();
        Properties properties = new Properties();
        properties.setProperty("user", named.get("PGUSER"));
        properties.setProperty("password", named.get("PGPASSWORD"));
        String url = "jdbc:postgresql://" + named.get("PGHOST") + ":" + named.get("PGPORT") + "/" + named.get("PGDATABASE");
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            step("client", "pgjdbc", connection.getMetaData().getDriverVersion(), "DatabaseMetaData, prepared statements, fetch size, batches, savepoints, arrays, COPY out, errors");
            reads(connection);
            refusals(connection);
            metadata(connection);
        }
    }
}
