// Loaded into NNI's manager by node's --require. NNI's servers would answer anyone, on every interface: here they listen
// on the addresses in BOOSTFORMER_NNI_LISTEN alone, and the web page answers only this user's processes on this machine.
// The manager outlives the launcher, which finds it again by its page's port.
'use strict';
const fs = require('fs');
const net = require('net');

const PAGE = Number(process.argv.includes('--port') ? process.argv[process.argv.indexOf('--port') + 1] : NaN);
if (!Number.isInteger(PAGE) || PAGE < 1) { // no port would be guarded
    throw new Error('the manager of NNI was started without --port and a number');
}
const WORKERS = '/platform/'; // where workers on other machines connect to the page's port, by WebSocket
const [first, ...others] = process.env.BOOSTFORMER_NNI_LISTEN.split(',');
const listen = net.Server.prototype.listen;

// Whoever gives an address, NNI's older servers '0.0.0.0', does not get it.
net.Server.prototype.listen = function (port, ...rest) {
    if (typeof port !== 'number') {
        throw new Error(`a server of NNI listens in a way that cannot be bound: ${port}`);
    }
    const emit = this.emit;
    this.emit = function (event, request, ...more) {
        const isRefused = ['request', 'upgrade'].includes(event) && !isAllowed(port, event, request);
        return isRefused ? request.socket.destroy() : emit.call(this, event, request, ...more);
    };
    for (const host of others) {
        const door = net.createServer(socket => this.emit('connection', socket));
        door.on('error', error => this.emit('error', error));
        this.on('close', () => door.close());
        listen.call(door, { port, host });
    }
    return listen.call(this, { port, host: first }, rest.find(argument => typeof argument === 'function'));
};

function isAllowed(port, event, { url, headers, socket }) {
    if (leavesItsFolder(url)) {
        return false;
    }
    if (port !== PAGE || (event === 'upgrade' && url.startsWith(WORKERS))) {
        return true;
    }
    // A browser of this user may have pages of other sites open.
    const isOtherSite = headers.origin !== undefined && headers.origin !== `http://${headers.host}`;
    return /^(127\.0\.0\.1|localhost)(:\d+)?$/.test(headers.host) && !isOtherSite && isOfThisUser(socket);
}

// NNI decodes %2f in the name of a file, then joins it to a folder.
function leavesItsFolder(url) {
    try {
        return decodeURIComponent(url).includes('..');
    } catch {
        return true;
    }
}

// Linux lists the sockets with their owners: address, peer, …, user (7th), …, inode (9th; 0 when closed already).
function isOfThisUser({ remoteAddress, remotePort, localPort }) {
    const place = port => '0100007F:' + port.toString(16).toUpperCase().padStart(4, '0');
    const [from, to] = [place(remotePort), place(localPort)];
    const rows = fs.readFileSync('/proc/self/net/tcp', 'utf8').split('\n').map(line => line.trim().split(/\s+/));
    const socket = rows.find(row => row[1] === from && row[2] === to && row[9] !== '0');
    return remoteAddress === '127.0.0.1' && socket !== undefined && Number(socket[7]) === process.getuid();
}

delete process.env.NODE_OPTIONS; // for the manager alone, not for what it starts
