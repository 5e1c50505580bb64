%% Takes out of a transcript what must differ between two runs: pids, ports, references, stack traces, a client's
%% port, the date.
%% And brings log events down to what they say.
-module(transcript).

-export([plain/1, brief/1, log_entry/1]).

-spec plain(term()) -> term().
plain(Pid) when is_pid(Pid) -> pid;
plain(Port) when is_port(Port) -> port;
plain(Ref) when is_reference(Ref) -> reference;
plain({same_test, Name}) when is_atom(Name) -> listener;
plain(Tuple) when is_tuple(Tuple) -> list_to_tuple(plain(tuple_to_list(Tuple)));
plain(#{peer := {Ip, Port}} = Req) when is_integer(Port) -> plain(Req#{peer := {Ip, port}});
plain(Map) when is_map(Map) -> maps:from_list([{plain(Key), plain(Value)} || {Key, Value} <- maps:to_list(Map)]);
plain([{Module, Function, Arity, Location} | _]) when
    is_atom(Module), is_atom(Function), is_integer(Arity) orelse is_list(Arity), is_list(Location)
->
    stack;
plain([Head | Tail]) -> [plain(Head) | plain(Tail)];
plain(Term) -> Term.

%% For a failure's report: long binaries by their size and hash.
-spec brief(term()) -> term().
brief(Binary) when byte_size(Binary) > 200 -> {bytes, byte_size(Binary), erlang:phash2(Binary)};
brief(Tuple) when is_tuple(Tuple) -> list_to_tuple(brief(tuple_to_list(Tuple)));
brief(Map) when is_map(Map) -> maps:map(fun(_, Value) -> brief(Value) end, Map);
brief([Head | Tail]) -> [brief(Head) | brief(Tail)];
brief(Term) -> Term.

%% A crash report becomes `{crash_report, Class, Reason}', an error of a server about a process
%% `{Level, connection_process | request_process, Reason}', one about a stream handler `{Level, stream_handler, Reason}',
%% anything else `{Level, Text}'.
-spec log_entry(logger:log_event()) -> term().
log_entry(#{msg := {report, #{label := {proc_lib, crash}, report := [Info, _]}}}) ->
    {Class, Reason, _} = proplists:get_value(error_info, Info),
    {crash_report, Class, Reason};
log_entry(#{level := Level, msg := {report, #{format := Format, args := Args}}}) ->
    entry(Level, Format, Args);
log_entry(#{level := Level, msg := {report, Report}}) ->
    {Level, Report};
log_entry(#{level := Level, msg := {string, Text}}) ->
    {Level, unicode:characters_to_binary(Text)};
log_entry(#{level := Level, msg := {Format, Args}}) ->
    entry(Level, Format, Args).

entry(Level, Format, Args) ->
    Text = unicode:characters_to_binary(io_lib:format(Format, Args)),
    Says = fun(Words) -> binary:match(Text, Words) =/= nomatch end,
    case [Kind || {Kind, Words} <- [
        {request_process, <<"had its request process">>},
        {connection_process, <<"had connection process">>},
        {stream_handler, <<"Unhandled exception">>}
    ], Says(Words)] of
        %% Cowboy names the stack in the reason since 2.13, and apart from it before.
        [request_process] -> {Level, request_process, without_stack(lists:nth(5, Args))};
        [connection_process] -> {Level, connection_process, lists:last(Args)};
        [stream_handler] -> {Level, stream_handler, lists:nth(2, Args)};
        [] -> {Level, unicode:characters_to_binary(io_lib:format(Format, plain(Args)))}
    end.

without_stack({Reason, Stack}) ->
    case plain(Stack) of
        stack -> Reason;
        _ -> {Reason, Stack}
    end;
without_stack(Reason) ->
    Reason.
