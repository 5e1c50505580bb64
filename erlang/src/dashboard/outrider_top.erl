%%% Listeners, their sidecars and the worst clients on a terminal, refreshed: for a shell on the node, when there is no browser.
%%%
%%%     outrider_top:start().          %% until "q" and Enter; a sort's letter and Enter sorts the clients otherwise
%%%     outrider_top:print(chat).      %% once
%%%
%%% Writes ASCII to the caller's group leader, so to whoever is attached, and no line longer than the terminal is wide. What clients
%%% chose, their paths, is shown with everything but printable ASCII as %XX: no client can write to an operator's terminal.
-module(outrider_top).

-export([start/0, start/1, print/0, print/1, text/3, printable/1]).
-export_type([options/0]).

-type options() :: #{
    %% Default: all that run when it starts.
    listeners => [ranch:ref()],
    sort => outrider_dashboard_feed:sort(),
    %% Clients of each listener, 1 to 1000; 10.
    limit => pos_integer(),
    %% Milliseconds between two pages, 100 or more; 1000.
    interval => pos_integer(),
    %% Pages until it ends by itself, without asking for keys; infinity.
    count => pos_integer() | infinity
}.
-type page() :: {outrider_sample:view(), [outrider_connections:connection()] | undefined}.

-define(SORTS, [
    {$b, backlog}, {$u, credit_in}, {$m, messages}, {$o, bytes_out}, {$i, bytes_in}, {$d, idle}, {$a, age}, {$r, round_trip}
]).
%% What is shown of a client, beside its address and path: title, width and how soon it is left out where the terminal is narrow. What
%% the clients are sorted by stays.
-define(COLUMNS, [
    {process, "PROCESS", 13, 0}, {age, "AGE", -6, 3}, {idle, "IDLE", -6, 2}, {messages, "MSGS IN", -8, 4}, {messages, "OUT", -8, 4},
    {bytes_in, "BYTES IN", -9, 5}, {bytes_out, "OUT", -9, 5}, {backlog, "BACKLOG", -9, 0}, {credit_in, "CREDIT IN", -10, 0},
    {round_trip, "TRIP", -9, 1}
]).
-define(MOST_RANK, 5).
%% Room for an address and the beginning of a path.
-define(CLIENT_WIDTH, 46).
%% Where the group leader is no terminal.
-define(WIDTH, 100).
-define(LEAST_WIDTH, 40).

-spec start() -> ok.
start() ->
    start(#{}).

%% badarg for options that are none.
-spec start(options()) -> ok.
start(Given) ->
    Options = #{listeners := Refs, count := Count} = options(Given),
    Reader =
        case Count of
            infinity -> read_keys(self());
            _ -> undefined
        end,
    loop(Options, Reader, [outrider_sample:take(Ref) || Ref <- Refs]).

-spec print() -> ok.
print() ->
    start(#{count => 1}).

-spec print(ranch:ref()) -> ok.
print(Ref) ->
    start(#{count => 1, listeners => [Ref]}).

options(Given) ->
    Defaults = #{listeners => maps:keys(outrider:info()), sort => backlog, limit => 10, interval => 1000, count => infinity},
    maps:foreach(fun(Key, Value) -> is_valid(Key, Value) orelse error(badarg, [Given]) end, Given),
    maps:merge(Defaults, Given).

is_valid(listeners, V) -> is_list(V);
is_valid(sort, V) -> lists:keymember(V, 2, ?SORTS);
is_valid(limit, V) -> is_integer(V) andalso V >= 1 andalso V =< 1000;
is_valid(interval, V) -> is_integer(V) andalso V >= 100;
is_valid(count, V) -> V =:= infinity orelse is_integer(V) andalso V >= 1;
is_valid(_, _) -> false.

%% A page tells of what happened since the one before.
loop(Options = #{interval := Interval, sort := Sort, limit := Limit, count := Count}, Reader, Before) ->
    receive
        {Reader, Line} when is_pid(Reader) ->
            case key(Line, Options) of
                quit -> ok;
                Changed -> loop(Changed, Reader, Before)
            end
    after Interval ->
        Now = [outrider_sample:take(Ref) || #{listener := Ref} <- Before],
        Pages = [page(outrider_sample:between(Old, New), Sort, Limit) || {Old, New} <- lists:zip(Before, Now)],
        ok = show(text(Pages, Sort, width()), Reader =/= undefined),
        case Count of
            infinity -> loop(Options, Reader, Now);
            1 -> ok;
            _ -> loop(Options#{count := Count - 1}, Reader, Now)
        end
    end.

-spec page(outrider_sample:view(), outrider_dashboard_feed:sort(), pos_integer()) -> page().
page(View = #{listener := Ref}, Sort, Limit) ->
    {View, outrider_sample:clients(Ref, Sort, Limit)}.

key([Letter | _], Options) ->
    case lists:keyfind(Letter, 1, ?SORTS) of
        {_, Sort} -> Options#{sort := Sort};
        false when Letter =:= $q -> quit;
        false -> Options
    end;
key(_, _) ->
    quit.

read_keys(Pid) ->
    spawn_link(fun() -> read_line(Pid) end).

read_line(Pid) ->
    case io:get_line("") of
        [Letter | _] = Line ->
            Pid ! {self(), Line},
            Letter =:= $q orelse read_line(Pid);
        %% Nobody is there any more.
        _ ->
            Pid ! {self(), eof}
    end.

%% In place of the page before; or behind it, where it is no screen.
show(Text, true) ->
    io:put_chars(["\e[H\e[2J", Text, "\nq Enter quits; sort: ", [[Letter, $=, atom_to_list(Sort), " "] || {Letter, Sort} <- ?SORTS], "\n"]);
show(Text, false) ->
    io:put_chars([Text, "\n"]).

width() ->
    case io:columns() of
        {ok, Columns} -> max(?LEAST_WIDTH, Columns - 1);
        {error, _} -> ?WIDTH
    end.

%% The pages of listeners, no line longer than Width.
-spec text([page()], outrider_dashboard_feed:sort(), pos_integer()) -> iodata().
text([], _, Width) ->
    lines([io_lib:format("~s: no listener runs", [node()])], Width);
text(Pages = [{#{vm := #{cpu := Cpu, memory := Memory}}, _} | _], Sort, Width) ->
    Head = io_lib:format("~s  VM: cpu ~s, memory ~s, processes ~b, run queue ~b", [
        node(), percent(Cpu), bytes(Memory), erlang:system_info(process_count), erlang:statistics(total_run_queue_lengths)
    ]),
    [lines([Head], Width) | [["\n", listener(Page, Sort, Width)] || Page <- Pages]].

listener({View = #{listener := Ref, status := Status, address := Address, connections := Connections, rates := Rates}, Clients}, Sort, Width) ->
    #{backlog := #{bytes := Backlog, clients := Behind, blocked := Blocked}, turn := Turn} = View,
    #{closes := Closes, limits := Limits, sidecars := Sidecars} = View,
    Rate = fun(Key) -> count(round(maps:get(Key, Rates))) end,
    State = fun(Key) -> count(maps:get(Key, Connections, 0)) end,
    [
        lines(
            [
                ["== ", printable(outrider_text:name(Ref)), "  ", atom_to_list(Status), "  ", printable(text_of(outrider_text:address(Address)))],
                ["websockets ", State(websocket), ", http ", State(http), ", closing ", State(closing), ", tls handshakes ",
                    State(tls_handshake), "; a second: accepted ", Rate(accepted), ", requests ", Rate(requests)],
                ["a second: messages ", Rate(messages_in), " in, ", Rate(messages_out), " out; bytes ", Rate(bytes_in), " in, ",
                    Rate(bytes_out), " out"],
                ["backlog ", bytes(Backlog), " of ", count(Behind), " clients, ", count(Blocked), " take nothing; a turn: half below ",
                    time(maps:get(half, Turn, undefined)), ", 99% below ", time(maps:get(most, Turn, undefined))],
                ["closed: ", listed([[text_of(Code), " by ", atom_to_list(Side), " ", count(N)] || #{code := Code, side := Side, count := N} <- Closes])],
                ["limits reached: ", listed([[atom_to_list(Limit), " ", count(N)] || #{limit := Limit, count := N} <- Limits])]
            ],
            Width
        ),
        table(
            [{"SIDECAR", 8}, {"PID", -9}, {"CPU", -8}, {"MEMORY", -9}, {"CLIENTS", -9}, {"WAITING", -9}, {"RESTARTS", -9}],
            [sidecar(Sidecar) || Sidecar <- Sidecars], Width
        ),
        clients(Clients, Sort, Width)
    ].

sidecar(#{number := Number, outcome := ok, os_pid := OsPid, restarts := Restarts} = Sidecar) ->
    #{cpu := Cpu, memory := Memory, websockets := WebSockets, waiting := Waiting} = Sidecar,
    [integer_to_list(Number), integer_to_list(OsPid), percent(Cpu), bytes(Memory), count(WebSockets), bytes(Waiting), count(Restarts)];
sidecar(#{number := Number, outcome := Outcome, restarts := Restarts}) ->
    [integer_to_list(Number), atom_to_list(Outcome), "-", "-", "-", "-", count(Restarts)].

clients(undefined, _, Width) ->
    lines(["clients: the sidecars do not say at the moment"], Width);
clients(Clients, Sort, Width) ->
    Shown = columns(Sort, Width, ?MOST_RANK),
    Columns = [{Title, Size} || {_, Title, Size, _} <- Shown] ++ [{" CLIENT, by " ++ atom_to_list(Sort), max(20, room(Shown, Width))}],
    table(Columns, [client(Client, Shown) || Client <- Clients], Width).

columns(Sort, Width, Rank) ->
    Columns = [Column || {Key, _, _, R} = Column <- ?COLUMNS, R =< Rank orelse Key =:= Sort],
    case Rank =:= 0 orelse room(Columns, Width) >= ?CLIENT_WIDTH of
        true -> Columns;
        false -> columns(Sort, Width, Rank - 1)
    end.

room(Columns, Width) ->
    Width - lists:sum([abs(Size) || {_, _, Size, _} <- Columns]).

client(#{peer := Peer, path := Path, state := State} = Client, Columns) ->
    [cell_of(Key, Title, Client) || {Key, Title, _, _} <- Columns] ++
        [[" ", [[atom_to_list(State), " "] || State =/= open], printable(text_of(outrider_text:address(Peer))), " ", printable(Path)]].

cell_of(process, _, #{pid := Pid}) -> text_of(Pid);
cell_of(messages, "OUT", #{messages_out := Out}) -> count(Out);
cell_of(messages, _, #{messages_in := In}) -> count(In);
cell_of(round_trip, _, #{round_trip := RoundTrip}) -> time(RoundTrip);
cell_of(Key, _, Client) when Key =:= age; Key =:= idle -> duration(maps:get(Key, Client));
cell_of(Key, _, Client) -> bytes(maps:get(Key, Client)).

%% A column's text stands at the right where its size is negative.
table(Columns, Rows, Width) ->
    lines([[cell(Text, Size) || {Text, {_, Size}} <- lists:zip(Row, Columns)] || Row <- [[Title || {Title, _} <- Columns] | Rows]], Width).

cell(Text0, Size) ->
    Text = lists:flatten([unicode:characters_to_list(Text0)]),
    case Size < 0 of
        true -> string:pad(lists:sublist(Text, -Size), -Size, leading);
        false -> string:pad(Text, Size)
    end.

lines(Lines, Width) ->
    [[string:trim(lists:sublist(unicode:characters_to_list(Line), Width), trailing), "\n"] || Line <- Lines].

listed([]) -> "none";
listed(Texts) -> lists:join(", ", Texts).

text_of(undefined) -> "-";
text_of(Pid) when is_pid(Pid) -> pid_to_list(Pid);
text_of(Integer) when is_integer(Integer) -> integer_to_list(Integer);
text_of(Atom) when is_atom(Atom) -> atom_to_list(Atom);
text_of(Text) -> Text.

%% Text of others, as what it can write to a terminal: printable ASCII, and everything else as %XX.
-spec printable(iodata()) -> iodata().
printable(Text) ->
    [printed(C) || C <- binary_to_list(iolist_to_binary(Text))].

printed(C) when C >= $\s, C =< $~ -> C;
printed(C) -> io_lib:format("%~2.16.0B", [C]).

count(Number) -> scaled(Number, ["", "k", "M", "G"]).

bytes(Number) -> scaled(Number, ["B", "kB", "MB", "GB", "TB"]).

percent(Cores) -> io_lib:format("~.1f%", [Cores * 100.0]).

time(undefined) -> "-";
time(infinity) -> "long";
time(Us) -> scaled(Us, ["us", "ms", "s"]).

scaled(Number, [Unit, _ | _]) when Number < 1000, is_integer(Number) -> [integer_to_list(Number), Unit];
scaled(Number, [Unit | Units]) when Number < 999.5; Units =:= [] -> [io_lib:format("~.1f", [Number * 1.0]), Unit];
scaled(Number, [_ | Units]) -> scaled(Number / 1000, Units).

duration(Ms) when Ms < 120000 -> [integer_to_list(Ms div 1000), "s"];
duration(Ms) when Ms < 7200000 -> [integer_to_list(Ms div 60000), "min"];
duration(Ms) when Ms < 172800000 -> [integer_to_list(Ms div 3600000), "h"];
duration(Ms) -> [integer_to_list(Ms div 86400000), "d"].
