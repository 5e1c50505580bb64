%% One person in one room: a WebSocket at /rooms/ROOM?name=NAME.
%%
%% Messages are text, a verb and what belongs to it, with tabs between. The browser sends `say TEXT`. It gets
%% `here NAME` for each person in the room, itself first; `joined NAME` and `left NAME` when somebody comes or goes; and
%% `said NAME TEXT`.
%%
%% A room is a group of `pg`. Who comes greets all who are there, and they answer; who goes is reported by `pg`, however the
%% process ended. So each process knows the names of all, and no process of the room itself is needed.
-module(chat_handler).
-behaviour(cowboy_websocket).

-export([init/2, websocket_init/1, websocket_handle/2, websocket_info/2]).

-define(MAX_NAME, 40). % characters
-define(MAX_TEXT, 4000). % bytes
-define(HEARTBEAT, 25000). % milliseconds; the browser's answer keeps the connection from its idle timeout of 60 s

init(Req, Server) ->
    #{name := Name} = cowboy_req:match_qs([{name, fun name/2}], Req), % answers 400 if there is none
    State = #{room => cowboy_req:binding(room, Req), name => Name, people => #{}, server => Server},
    {cowboy_websocket, Req, State, #{max_frame_size => ?MAX_TEXT + 4, compress => true}}.

%% A name is one line of printable characters: it is shown to others, and a tab ends it in our messages.
name(forward, Given) ->
    case unicode:characters_to_list(Given) of
        Name when Name =/= [], length(Name) =< ?MAX_NAME ->
            case lists:all(fun(Character) -> Character >= $\s end, Name) of
                true -> {ok, Given};
                false -> {error, not_printable}
            end;
        _ ->
            {error, not_a_name}
    end;
name(format_error, {Reason, _Given}) ->
    Reason.

websocket_init(State = #{room := Room, name := Name}) ->
    %% First in, then look who is there: of two who come at once, one at least sees the other.
    ok = pg:join(chat, Room, self()),
    {Monitor, Others} = pg:monitor(chat, Room),
    tell(Others -- [self()], {hello, self(), Name}),
    heartbeat(),
    {[frame(["here", Name])], State#{monitor => Monitor}}.

websocket_handle({text, <<"say\t", Text/binary>>}, State = #{room := Room, name := Name, server := Server}) ->
    send(Server, pg:get_members(chat, Room), frame(["said", Name, Text])),
    {[], State};
websocket_handle(_Frame, State) ->
    {[], State}.

websocket_info({send, Frame}, State) ->
    {[Frame], State};
websocket_info({hello, Pid, Name}, State = #{name := MyName}) ->
    Pid ! {here, self(), MyName},
    meet("joined", Pid, Name, State);
websocket_info({here, Pid, Name}, State) ->
    meet("here", Pid, Name, State);
websocket_info({Monitor, leave, _Room, Pids}, State = #{monitor := Monitor, people := People}) ->
    Left = maps:with(Pids, People),
    {[frame(["left", Name]) || Name <- maps:values(Left)], State#{people := maps:without(Pids, People)}};
websocket_info(heartbeat, State) ->
    heartbeat(),
    {[ping], State};
websocket_info(_Message, State) ->
    {[], State}.

meet(_Verb, Pid, _Name, State = #{people := People}) when is_map_key(Pid, People) ->
    {[], State};
meet(Verb, Pid, Name, State = #{people := People}) ->
    {[frame([Verb, Name])], State#{people := People#{Pid => Name}}}.

%% The same frame to all of them: by Outrider once for all, by Cowboy in the process of each.
send(outrider, Pids, Frame) ->
    outrider:send_many(Pids, Frame);
send(cowboy, Pids, Frame) ->
    tell(Pids, {send, Frame}).

tell(Pids, Message) ->
    lists:foreach(fun(Pid) -> Pid ! Message end, Pids).

heartbeat() ->
    erlang:send_after(?HEARTBEAT, self(), heartbeat).

frame(Words) ->
    {text, lists:join("\t", Words)}.
