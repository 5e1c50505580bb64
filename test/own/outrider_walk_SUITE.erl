%% The walk of docs/operations.md, "Sockets are slow": every call of it is typed against examples/trouble, and what the page shows of the
%% answer is in what comes.
%%
%% Of terms all that is shown has to be there: each key of a map, some element for each of a list; numbers that are not 0 stand for any
%% such number, process identifiers for any, `…' for anything. Of what is printed each word has to be there.
-module(outrider_walk_SUITE).

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([each_call_of_the_walk_answers_as_the_page_shows/1, the_page_is_what_is_compared/1]).
-export([the_demo_has_a_shell_and_ends_by_itself/1]).

all() ->
    [the_page_is_what_is_compared, the_demo_has_a_shell_and_ends_by_itself, each_call_of_the_walk_answers_as_the_page_shows].

init_per_suite(Config) ->
    same_test:start([outrider]),
    Root = filename:dirname(filename:dirname(compatibility:page("operations.md"))),
    Source = filename:join([Root, "examples", "trouble", "src"]),
    Folder = proplists:get_value(priv_dir, Config),
    _ = [{ok, _} = compile:file(File, [{outdir, Folder}]) || File <- filelib:wildcard(filename:join(Source, "*.erl"))],
    true = code:add_patha(Folder),
    {ok, [App]} = file:consult(filename:join(Source, "trouble.app.src")),
    ok = application:load(App),
    _ = [true = os:putenv(Name, Value) || {Name, Value} <- environment()],
    {ok, _} = application:ensure_all_started(trouble),
    Config.

end_per_suite(Config) ->
    _ = application:stop(trouble),
    _ = application:unload(trouble),
    _ = [true = os:unsetenv(Name) || {Name, _} <- environment()],
    true = code:del_path(proplists:get_value(priv_dir, Config)).

%% Its end would be that of this node.
environment() ->
    [{"PORT", "0"}, {"SECONDS", "3600"}].

%% What is wrong on the page is found.
the_page_is_what_is_compared(_) ->
    true = is_alike("[#{a => 7, …}]", "", [x, #{a => 8, b => 1}]),
    true = is_alike("{ok,<0.1.0>}", "", {ok, self()}),
    false = is_alike("[#{a => 7, c => 1}]", "", [#{a => 8, b => 1}]),
    false = is_alike("[#{a => 7}]", "", [#{a => 0}]),
    false = is_alike("[#{a => 0}]", "", [#{a => 7}]),
    false = is_alike("[a, b]", "", [a]),
    false = is_alike("ok", "", error),
    true = is_alike("one 7\n…\nthree", "one 8 two\n three", ok),
    false = is_alike("one 7\n…\nfour", "one 8 two\n three", ok),
    true = length(calls()) > 10.

%% Tried until it is so: the trouble takes a while to show.
each_call_of_the_walk_answers_as_the_page_shows(_) ->
    _ = lists:foldl(fun typed/2, erl_eval:new_bindings(), calls()).

%% As `make demo EXAMPLE=trouble' runs it, without anybody who types q().
the_demo_has_a_shell_and_ends_by_itself(_) ->
    Script = filename:join([filename:dirname(filename:dirname(compatibility:page("operations.md"))), "scripts", "demo.sh"]),
    Demo = open_port({spawn_executable, Script}, [
        {args, ["trouble"]}, {env, [{"PORT", "0"}, {"SECONDS", "5"}]}, binary, exit_status, stderr_to_stdout
    ]),
    _ = said(Demo, <<>>, "The trouble is at http://localhost:"),
    true = port_command(Demo, "outrider_top:print(trouble).\n"),
    _ = said(Demo, <<>>, "== trouble  running"),
    _ = said(Demo, <<>>, "The trouble is over."),
    receive {Demo, {exit_status, Status}} -> 0 = Status after 60000 -> error(goes_on) end.

said(Demo, Before, Text) ->
    receive
        {Demo, {data, Data}} ->
            All = <<Before/binary, Data/binary>>,
            case binary:match(All, list_to_binary(Text)) of
                nomatch -> said(Demo, All, Text);
                _ -> ok
            end;
        {Demo, {exit_status, Status}} ->
            error({ended, Status, Before})
    after 60000 -> error({not_said, Text, Before})
    end.

typed({Call, Shown}, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(Call ++ "."),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    until_alike(Call, Shown, Expressions, Bindings, erlang:monotonic_time(second) + 60).

until_alike(Call, Shown, Expressions, Bindings, Deadline) ->
    ok = ct:capture_start(),
    {value, Value, After} = erl_eval:exprs(Expressions, Bindings, {value, fun shell/2}),
    ok = ct:capture_stop(),
    Printed = lists:flatten(ct:capture_get()),
    case is_alike(Shown, Printed, Value) of
        true ->
            After;
        false ->
            erlang:monotonic_time(second) < Deadline orelse error({not_as_shown, Call, Shown, Printed, Value}),
            receive after 500 -> until_alike(Call, Shown, Expressions, Bindings, Deadline) end
    end.

%% The shell's own, which leaves the messages where they are: it may be typed again.
shell(flush, []) ->
    {messages, Messages} = process_info(self(), messages),
    _ = [io:format("Shell got ~p~n", [Message]) || Message <- Messages],
    ok.

%% Each call, and what is shown of its answer.
calls() ->
    {ok, Page} = file:read_file(compatibility:page("operations.md")),
    [_, Walk0 | _] = binary:split(Page, <<"\n## \"Sockets are slow\"">>),
    [Walk, _] = binary:split(Walk0, <<"\n### ">>),
    {match, Blocks} = re:run(Walk, "```erlang\n(.*?)```", [global, dotall, {capture, all_but_first, binary}]),
    Prompts = re:split([Block || [Block] <- Blocks], "^[0-9]+> ", [multiline, {return, binary}]),
    [list_to_tuple([unicode:characters_to_list(Part) || Part <- binary:split(Typed, <<".\n">>)]) || Typed <- tl(Prompts)].

is_alike(Shown, [_ | _] = Printed, ok) ->
    %% Not the units behind numbers.
    {match, Words} = re:run(unicode:characters_to_binary(Shown), "(?<![0-9.a-zA-Z])[a-zA-Z_/]{2,}", [global, {capture, first, list}]),
    [] =:= [Word || [Word] <- Words, string:find(Printed, Word) =:= nomatch];
is_alike(Shown, [], Value) ->
    Without = re:replace(unicode:characters_to_binary(Shown), <<"(, *)?…"/utf8>>, "", [global, unicode, {return, list}]),
    Text = re:replace(Without, "<0\\.[0-9.]+>", "'a process'", [global, {return, list}]),
    {ok, Tokens, _} = erl_scan:string(Text ++ "."),
    case erl_parse:parse_term(Tokens) of
        {ok, Term} -> alike(Term, Value);
        %% It was to be printed.
        {error, _} -> false
    end.

alike('a process', Pid) -> is_pid(Pid);
alike(0, Number) -> Number =:= 0;
alike(Shown, Number) when is_integer(Shown) -> is_integer(Number) andalso Number > 0;
alike(Shown, Map) when is_map(Shown), is_map(Map) ->
    lists:all(fun({Key, Value}) -> is_map_key(Key, Map) andalso alike(Value, map_get(Key, Map)) end, maps:to_list(Shown));
alike(Shown, List) when is_list(Shown), is_list(List) ->
    lists:all(fun(Element) -> lists:any(fun(Other) -> alike(Element, Other) end, List) end, Shown);
%% One whose end is not shown is shorter.
alike(Shown, Tuple) when is_tuple(Shown), is_tuple(Tuple), tuple_size(Shown) =< tuple_size(Tuple) ->
    lists:all(fun({A, B}) -> alike(A, B) end, lists:zip(tuple_to_list(Shown), lists:sublist(tuple_to_list(Tuple), tuple_size(Shown))));
alike(Shown, Value) -> Shown =:= Value.
