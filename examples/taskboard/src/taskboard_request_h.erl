%% A stream handler: gives each request an id, tells it to the client in `x-request-id`, and logs the request when it
%% ends.
%%
%% It stands first, so that it sees the answers of all the others, those to requests that are no HTTP too.
-module(taskboard_request_h).
-behaviour(cowboy_stream).

-export([init/3, data/4, info/3, terminate/3, early_error/5]).

-include_lib("kernel/include/logger.hrl").

-record(state, {id, request, begin_ms, status = none, next}).

init(StreamID, Req0 = #{method := Method, path := Path}, Opts) ->
    Id = new_id(),
    Req = Req0#{request_id => Id},
    {Commands, Next} = cowboy_stream:init(StreamID, Req, Opts),
    State = #state{id = Id, request = [Method, $\s, Path], begin_ms = erlang:monotonic_time(millisecond), next = Next},
    mark(Commands, State).

data(StreamID, IsFin, Data, State) ->
    {Commands, Next} = cowboy_stream:data(StreamID, IsFin, Data, State#state.next),
    mark(Commands, State#state{next = Next}).

info(StreamID, Info, State) ->
    {Commands, Next} = cowboy_stream:info(StreamID, Info, State#state.next),
    mark(Commands, State#state{next = Next}).

terminate(StreamID, Reason, #state{id = Id, request = Request, begin_ms = Begin, status = Status, next = Next}) ->
    cowboy_stream:terminate(StreamID, Reason, Next),
    Took = erlang:monotonic_time(millisecond) - Begin,
    ?LOG_INFO("~s ~s: ~p in ~b ms", [Id, Request, Status, Took], #{domain => [taskboard]}).

early_error(StreamID, Reason, PartialReq, Response, Opts) ->
    {response, Status, Headers, Body} = cowboy_stream:early_error(StreamID, Reason, PartialReq, Response, Opts),
    {response, Status, Headers#{<<"x-request-id">> => new_id()}, Body}.

%% Puts the id into the head of each answer among the commands, and keeps its status.
mark(Commands, State) ->
    lists:mapfoldl(fun mark_one/2, State, Commands).

mark_one({response, Status, Headers, Body}, State) ->
    {{response, Status, with_id(Headers, State), Body}, State#state{status = Status}};
mark_one({headers, Status, Headers}, State) ->
    {{headers, Status, with_id(Headers, State)}, State#state{status = Status}};
mark_one({error_response, Status, Headers, Body}, State) ->
    {{error_response, Status, with_id(Headers, State), Body}, State#state{status = Status}};
mark_one({switch_protocol, Headers, Module, ProtocolState}, State) ->
    {{switch_protocol, with_id(Headers, State), Module, ProtocolState}, State#state{status = 101}};
mark_one(Command, State) ->
    {Command, State}.

with_id(Headers, #state{id = Id}) ->
    Headers#{<<"x-request-id">> => Id}.

new_id() ->
    binary:encode_hex(crypto:strong_rand_bytes(8)).
