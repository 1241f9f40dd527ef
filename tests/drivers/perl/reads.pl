#!/usr/bin/perl
# DBD::Pg, its metadata above all, and DBIx::Class with the classes that its loader makes, against whatever server libpq's
# environment names; one JSON line a step.
use strict;
use warnings;
use DBI;
use JSON::PP;

$| = 1;
my $json = JSON::PP->new->utf8->canonical->allow_nonref->allow_blessed->convert_blessed;

# A reference to a text is a default that is SQL. The two servers' databases have other names.
sub plain {
    my $value = shift;
    return "sql $$value" if ref $value eq 'SCALAR';
    return [ map { plain($_) } @$value ] if ref $value eq 'ARRAY';
    return { map { $_ => plain($value->{$_}) } keys %$value } if ref $value eq 'HASH';
    return defined $value ? $value eq $ENV{PGDATABASE} ? '(database)' : "$value" : undef;
}
sub step { my ($name, %seen) = @_; print $json->encode({ step => $name, %{ plain(\%seen) } }), "\n" }

# The client's own line begins with its step, as the programs in other languages write it.
sub client {
    my ($name, $version, $driven) = @_;
    print qq({"step": "client", "client": "$name", "version": "$version", "driven": "$driven"}\n);
}
sub lines {
    my ($name, $sth, @columns) = @_;
    return step($name, found => 'nothing') unless $sth;
    while (my $row = $sth->fetchrow_hashref) { step($name, row => @columns ? { map { $_ => $row->{$_} } @columns } : $row) }
}
sub fails {
    my ($name, $work) = @_;
    my $got = eval { $work->() };
    $@ ? step($name, sqlstate => $DBI::state) : step($name, got => $got);
}

my ($user, $password) = @ENV{qw(PGUSER PGPASSWORD)};
my $source = "dbi:Pg:dbname=$ENV{PGDATABASE};host=$ENV{PGHOST};port=$ENV{PGPORT}";
my $schema = 'external_support';
my $dbh = DBI->connect($source, $user, $password, { RaiseError => 1, PrintError => 0, AutoCommit => 1 });

client('DBD::Pg', $DBD::Pg::VERSION =~ s/\.\d+$//r, 'table, column, key, foreign key and type metadata, placeholders, arrays, savepoints, COPY out, cursors, asynchronous statements, errors');
step('tables', found => [ sort $dbh->tables(undef, $schema, undef, 'TABLE') ]);
lines('table_info', $dbh->table_info(undef, $schema, '%', 'TABLE,VIEW'), qw(TABLE_CAT TABLE_SCHEM TABLE_NAME TABLE_TYPE));
lines('table_info of types', $dbh->table_info('', '', '', '%'));
lines("column_info of $_", $dbh->column_info(undef, $schema, $_, '%'), qw(TABLE_NAME COLUMN_NAME DATA_TYPE TYPE_NAME COLUMN_SIZE NULLABLE ORDINAL_POSITION pg_type))
    for qw(customers orders documents);
step("primary key of $_", columns => [ $dbh->primary_key(undef, $schema, $_) ]) for qw(tickets customers orders);
lines('primary_key_info', $dbh->primary_key_info(undef, $schema, 'tickets'), qw(TABLE_SCHEM TABLE_NAME COLUMN_NAME KEY_SEQ));
lines('foreign_key_info', $dbh->foreign_key_info(undef, undef, undef, undef, $schema, 'orders'));
step('type_info', types => [ map { [ @{$_}[ 0, 1, 2 ] ] } grep { ref eq 'ARRAY' } @{ $dbh->type_info_all } ]);
step('get_info', found => [ map { $dbh->get_info($_) } 17, 29, 41, 47 ]);
lines('statement with a placeholder', do { my $sth = $dbh->prepare('select id, subject, priority, amount, tags from tickets where id < ? order by id'); $sth->execute(8); $sth });
my $typed = $dbh->prepare('select * from orders where id = ?');
$typed->execute(1);
step('columns', names => $typed->{NAME}, types => $typed->{pg_type}, nullable => $typed->{NULLABLE});
$typed->finish;
step('arrays', row => $dbh->selectrow_arrayref(q(select tags, array[1, null, 3], array[[1, 2], [3, 4]] from tickets where id = 1)));
fails('a column that is nowhere', sub { $dbh->do('select internal_notes from tickets') });
$dbh->begin_work;
$dbh->pg_savepoint('before');
fails('division by zero', sub { $dbh->do('select 1 / 0') });
$dbh->pg_rollback_to('before');
step('after the savepoint', row => $dbh->selectrow_arrayref('select count(*) from orders where id < 40'));
$dbh->commit;
$dbh->do('copy (select id, priority from tickets where id < 6 order by id) to stdout');
my $copied;
step('copied', line => $copied) while $dbh->pg_getcopydata($copied) >= 0;
$dbh->begin_work;
$dbh->do('declare opened cursor for select id from tickets order by id');
step('fetched', rows => $dbh->selectall_arrayref('fetch 3 from opened'));
$dbh->commit;
{
    local $dbh->{ReadOnly} = 1;
    $dbh->begin_work;
    step('read only', row => $dbh->selectrow_arrayref('show transaction_read_only'));
    $dbh->commit;
}
my $later = $dbh->prepare('select 7', { pg_async => DBD::Pg::PG_ASYNC() });
$later->execute;
$later->pg_result;
step('asynchronous', rows => $later->fetchall_arrayref);

package Desk {
    use parent 'DBIx::Class::Schema::Loader';
    __PACKAGE__->loader_options(db_schema => $schema, naming => 'current', use_namespaces => 0, quiet => 1, skip_load_external => 1);
}
my $desk = Desk->connect($source, $user, $password, { quote_names => 1, on_connect_do => q(set application_name = 'desk') });
require DBIx::Class;
client('DBIx::Class', $DBIx::Class::VERSION, 'classes that Schema::Loader makes, their keys and relationships, searches, prefetch, pages, aggregates, transactions, savepoints, writes refused');
for my $name (sort $desk->sources) {
    my $table = $desk->source($name);
    step("class $name", key => [ $table->primary_columns ], relationships => [ sort $table->relationships ]);
    step("class $name", column => $_, type => $table->column_info($_)->{data_type}, null => $table->column_info($_)->{is_nullable}) for $table->columns;
}
sub set { $desk->resultset(shift) }
step('search', row => { $_->get_columns }) for set('Customer')->search({ id => { '<' => 12 } }, { order_by => 'id', columns => [qw(id name plan)] })->all;
step('join', row => [ $_->id, $_->total, $_->customer->name ]) for set('Order')->search({ 'me.id' => { '<' => 20 } }, { prefetch => 'customer', order_by => 'me.id' })->all;
step('page', ids => [ map { $_->id } set('Ticket')->search(undef, { order_by => { -desc => 'id' }, rows => 4, page => 2, columns => ['id'] })->all ]);
step('count', count => set('Ticket')->search({ priority => { -in => [qw(high low)] } })->count);
step('aggregates', found => [ set('Order')->get_column('total')->sum, set('Order')->get_column('id')->max ]);
step('group', row => { $_->get_columns }) for set('Ticket')->search(undef, { select => [ 'priority', { count => 'id', -as => 'count' } ], as => [qw(priority count)], group_by => 'priority', order_by => 'priority' })->all;
step('transaction', count => $desk->txn_do(sub { set('Document')->count }));
$desk->txn_begin;
$desk->svp_begin('within');
step('savepoint', count => set('Customer')->search({ id => { '<' => 50 } })->count);
$desk->svp_rollback('within');
$desk->txn_commit;
for my $write ([ update => sub { set('Document')->search({ id => 1 })->update({ title => 'x' }) } ], [ delete => sub { set('Document')->search({ id => 1 })->delete } ]) {
    my ($name, $work) = @$write;
    eval { $work->(); 1 };
    step($name, refused => $desk->storage->dbh->state);
}
